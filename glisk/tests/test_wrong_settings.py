"""Whoever sets something wrong is told which variable it is, and what to set instead.

What is senseless ends every start, so every command says it; what is only dangerous is told by
`check --deploy` and by `check_setup`.
"""

import pytest

from glisk.tests.environments import EXAMPLE, PRODUCTION, WORKER, complaint, start
from glisk.tests.test_secret_files import secret_names
from sandbox.accounts import ACCOUNTS

KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ORDER = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
# A sound deployment on the main network.
SOUND = {
    **PRODUCTION,
    "NETWORK": "BASE_MAINNET",
    "RPC_URL": "https://rpc.example",
    "DAILY_SPEND_CAP_USD": "20",
    "METRICS_NETWORKS": "10.0.0.0/8",
}
SENSELESS = [
    ("APP_ENV", "staging", "one of development, test, production"),
    ("SECRET_KEY", "hush", "at least 50 are needed"),
    ("ALLOWED_HOSTS", "https://glisk.example", "without scheme and port"),
    ("CORS_ORIGINS", "https://app.glisk.example/path", "no path"),
    ("HOST", "not a host", "an address or a host name"),
    ("WEB_THREADS", "many", "from 1 to 256"),
    ("TRUSTED_PROXIES", "10.0.0.0/8,0.0.0.0/0", "(10.0.0.0/8) (look at entry 2)"),
    ("DATABASE_URL", "mysql://glisk:hunter2secret@127.0.0.1/glisk", "postgres://user:password@host"),
    ("DATABASE_URL", "postgres://127.0.0.1:5432", "postgres://user:password@host"),
    ("RPC_URL", "ftp://127.0.0.1", "is not a URL (http or https)"),
    ("ALCHEMY_API_KEY", "hush-hush", "at least 10 are needed"),
    ("ALCHEMY_WEBHOOK_SECRET", "whsec_long_enough_key,hush", "(look at entry 2)"),
    ("GLISK_NFT_CONTRACT_ADDRESS", "0xb60e22A3d38e1e8B2e1A1b1c77CA0F0E1b3f1A11", "mistyped"),
    ("GLISK_NFT_CONTRACT_ADDRESS", "", "0x and 40 hex digits"),
    ("GLISK_NFT_CONTRACT_ADDRESS", "0x1234", "0x and 40 hex digits"),
    ("GLISK_DEFAULT_AUTHOR_WALLET", ACCOUNTS[3].address, "its private key is public"),
    ("GLISK_DEFAULT_AUTHOR_WALLET", ACCOUNTS[7].address[:-1] + "6", "mistyped"),
    ("DEFAULT_PROMPT", "p" * 1001, "at most 1000 are allowed"),
    ("DEFAULT_PROMPT", "   ", "is not set"),
    ("REPLICATE_API_TOKEN", EXAMPLE["REPLICATE_API_TOKEN"], "give your own"),
    ("REPLICATE_API_TOKEN", "r8_short", "at least 20 are needed"),
    ("REPLICATE_WEBHOOK_SECRET", "whsec_not*base64", "whsec_ and base64"),
    ("REPLICATE_MODEL_VERSION", "flux schnell", "owner/name:version"),
    ("REPLICATE_OUTPUT_HOSTS", "https://replicate.delivery", "*.host or host:port"),
    ("REPLICATE_PRICES", "owner/name=1_0", "owner/name=0.003"),
    ("SELFHOSTED_PRICE_USD", "1e-3", "0.002 an image"),
    ("GENERATION_COST_USD", "0,003", "from 0 to 100 (digits and one point, as 1.25)"),
    ("IMAGE_SERVICE", "somebody", "replicate, selfhosted"),
    ("IMAGE_SERVICE", "selfhosted", "SELFHOSTED_IMAGE_API_URL: is not set although IMAGE_SERVICE"),
    ("PINATA_JWT", "", "nor are PINATA_API_KEY and PINATA_API_SECRET"),
    ("PINATA_GATEWAY", ",", "hosts or URLs"),
    ("PINATA_API_URL", "https://", "is not a URL"),
    ("PINATA_REQUESTS_PER_MINUTE", "1", "two requests at once"),
    ("KEEPER_PRIVATE_KEY", KEY[:-1], "64 hex digits"),
    ("KEEPER_PRIVATE_KEY", ORDER, "in the range of secp256k1"),
    ("KEEPER_ADDRESS", KEY[:42], "0x and 40 hex digits"),
    ("REVEAL_GAS_BUFFER", "0.9", "from 1.0 to 3.0"),
    ("REVEAL_MAX_GAS_PRICE_GWEI", "1.000", "write 1.25"),
    ("REVEAL_MAX_GAS_PRICE_GWEI", "0.01", "is below 0.02"),
    ("REVEAL_MAX_GAS_PRICE_GWEI", "nan", "digits and one point"),
    ("BATCH_REVEAL_MAX_TOKENS", "500", "from 1 to 120"),
    ("ENABLE_REVEAL_WORKER", "perhaps", "true or false"),
    ("WORKER_BATCH_SIZE", "2000", "from 1 to 200"),
    ("POLL_INTERVAL_SECONDS", "0", "from 0.1 to 3600"),
    ("SIGN_IN_DOMAIN", "*.glisk.example", "the first site must be a whole name"),
    ("SECURE_HSTS_PRELOAD", "true", "without SECURE_HSTS_INCLUDE_SUBDOMAINS"),
]  # fmt: skip
DANGEROUS = {
    "DAILY_SPEND_CAP_USD": ("0", "Set what a busy day may cost"),
    "WORKER_BATCHSIZE": ("20", "did you mean WORKER_BATCH_SIZE?"),
    "RPC_URL": ("http://rpc.example", "Give the vendor's https:// address"),
    "REPLICATE_BASE_URL": ("http://127.0.0.1:1", "Unset REPLICATE_BASE_URL"),
    "PINATA_API_URL": ("http://127.0.0.1:1", "Unset PINATA_API_URL or give the vendor's URL"),
    "PUBLIC_BASE_URL": ("http://glisk.example", "Give the HTTPS address"),
    "TRUSTED_PROXIES": ("", "Give the addresses of the proxies"),
    "ALLOWED_HOSTS": ("glisk.example,web", "Set SECURE_SSL_REDIRECT=false"),
    "SECOND_FACTOR_REQUIRED": ("false", "Unset it; `manage.py remove_second_factor`"),
    "KEEPER_PRIVATE_KEY": (KEY, "Give the worker alone KEEPER_PRIVATE_KEY_FILE"),
}


@pytest.mark.process
def test_each_wrong_setting_is_named_with_the_remedy() -> None:
    """Many at once, each with a line of its own, nothing else with it, and no secret told."""
    left = SENSELESS
    while left:
        wrong = {name: (value, remedy) for name, value, remedy in reversed(left)}
        left = [row for row in left if wrong[row[0]] != row[1:]]
        values = {name: value for name, (value, _) in wrong.items()}
        given = {**SOUND, "KEEPER_PRIVATE_KEY": KEY, **values}
        said = complaint(given, WORKER)
        assert not any(values[name] in said for name in secret_names() & {*values} if values[name])
        lines = said.splitlines()[1:-1]
        for name, (_, remedy) in wrong.items():
            assert any(remedy in line and name in line for line in lines), (name, lines)
        assert len(lines) == len(wrong), lines


@pytest.mark.process
def test_what_is_dangerous_is_named_by_both_commands_and_a_sound_deployment_has_nothing() -> None:
    said = start(SOUND, ("manage.py", "check", "--deploy"))
    assert (said.returncode, said.stdout[:37]) == (0, "System check identified no issues (2 "), said
    given = {**SOUND, **{name: value for name, (value, _) in DANGEROUS.items()}}
    for command in (("check", "--deploy"), ("check_setup",)):
        done = start(given, ("manage.py", *command))
        assert done.returncode and done.stderr.count("unknown_variable") == 1
        for name, (_, remedy) in DANGEROUS.items():
            assert name in done.stdout + done.stderr, (name, command)
            assert remedy in done.stdout + done.stderr, (name, command)
