"""Whoever sets something wrong is told which variable it is, and what to set instead."""

import pytest

from glisk.tests.environments import EXAMPLE, PRODUCTION, findings
from sandbox.accounts import ACCOUNTS

# A sound deployment on the main network.
SOUND = {
    **PRODUCTION,
    "NETWORK": "BASE_MAINNET",
    "RPC_URL": "https://rpc.example",
    "DAILY_SPEND_CAP_USD": "20",
    "METRICS_NETWORKS": "10.0.0.0/8",
}
WRONG = [
    ("DAILY_SPEND_CAP_USD", "0", "Set what a busy day may cost"),
    ("GENERATION_COST_USD", "0,003", "digits and one point, as 1.25"),
    ("REVEAL_MAX_GAS_PRICE_GWEI", "1.000", "write 1.25"),
    ("REVEAL_MAX_GAS_PRICE_GWEI", "0.01", "is below 0.02"),
    ("SELFHOSTED_PRICE_USD", "1e-3", "0.002 an image"),
    ("REPLICATE_PRICES", "owner/name=1_0", "owner/name=0.003"),
    ("WORKER_BATCHSIZE", "20", "did you mean WORKER_BATCH_SIZE?"),
    ("WORKER_BATCH_SIZE", "2000", "from 1 to 200"),
    ("SECRET_KEY", "short", "at least 50 are needed"),
    ("REPLICATE_API_TOKEN", EXAMPLE["REPLICATE_API_TOKEN"], "give your own"),
    ("REPLICATE_WEBHOOK_SECRET", "whsec_not*base64", "whsec_ and base64"),
    ("GLISK_DEFAULT_AUTHOR_WALLET", ACCOUNTS[3].address, "its private key is public"),
    ("GLISK_NFT_CONTRACT_ADDRESS", "0xb60e22A3d38e1e8B2e1A1b1c77CA0F0E1b3f1A11", "mistyped"),
    ("RPC_URL", "https://127.0.0.1:8545", "Unset RPC_URL or give the vendor's URL"),
    ("PINATA_API_URL", "http://pinata.example", "Give the vendor's https:// address"),
    ("PINATA_JWT", "", "nor are PINATA_API_KEY and PINATA_API_SECRET"),
    ("PUBLIC_BASE_URL", "http://glisk.example", "Give the HTTPS address"),
    ("TRUSTED_PROXIES", "", "Give the addresses of the proxies"),
    ("TRUSTED_PROXIES", "0.0.0.0/0", "addresses and networks (10.0.0.0/8)"),
    ("ALLOWED_HOSTS", "https://glisk.example", "without scheme and port"),
    ("ALLOWED_HOSTS", "glisk.example,web", "Set SECURE_SSL_REDIRECT=false"),
    ("NETWORK", "LOCAL", "Set NETWORK to BASE_MAINNET or BASE_SEPOLIA"),
    ("DATABASE_URL", "mysql://glisk@127.0.0.1/glisk", "postgres://user:password@host"),
    ("BATCH_REVEAL_MAX_TOKENS", "500", "from 1 to 120"),
    ("ENABLE_REVEAL_WORKER", "perhaps", "true or false"),
]


@pytest.mark.process
def test_a_sound_deployment_has_nothing_to_mend() -> None:
    assert findings(SOUND).strip() == ""


@pytest.mark.process
@pytest.mark.parametrize(("name", "value", "remedy"), WRONG)
def test_each_wrong_setting_is_named_with_the_remedy(name: str, value: str, remedy: str) -> None:
    said = [line for line in findings({**SOUND, name: value}).splitlines() if name in line]
    assert any(remedy in line for line in said), said
