"""The chain and its contract, and who owns the tokens of unknown authors."""

from glisk.config import REQUIRED
from glisk.settings.environment import env

NETWORK = env.choice("NETWORK", REQUIRED, ("BASE_MAINNET", "BASE_SEPOLIA", "LOCAL"))
# Whoever has a key of such a network has something of value.
IS_REAL_NETWORK = NETWORK not in ("", "LOCAL")
CHAIN_ID = {"BASE_MAINNET": 8453, "BASE_SEPOLIA": 84532, "LOCAL": 31337}[NETWORK or "LOCAL"]
EXPLORER_URL = {
    "BASE_MAINNET": "https://basescan.org",
    "BASE_SEPOLIA": "https://sepolia.basescan.org",
    "LOCAL": "",
}[NETWORK or "LOCAL"]
ALCHEMY_API_KEY = env.secret("ALCHEMY_API_KEY", "", min_length=10)
RPC_URL = env.url("RPC_URL", "")
if not RPC_URL:
    if ALCHEMY_API_KEY and NETWORK != "LOCAL":
        _host = "base-mainnet" if NETWORK == "BASE_MAINNET" else "base-sepolia"
        RPC_URL = f"https://{_host}.g.alchemy.com/v2/{ALCHEMY_API_KEY}"
    else:
        env.fault("RPC_URL", "is not set and ALCHEMY_API_KEY cannot replace it")
RPC_TIMEOUT_SECONDS = env.number("RPC_TIMEOUT_SECONDS", 10.0, low=0.5, high=120)
# Without one no webhook is taken: mints are read from the chain.
ALCHEMY_WEBHOOK_SECRETS = env.secret_texts(
    "ALCHEMY_WEBHOOK_SECRET",
    [],
    wanted="signing keys of at least 10 characters",
    each=lambda key: len(key) >= 10,
)
GLISK_NFT_CONTRACT_ADDRESS = env.address("GLISK_NFT_CONTRACT_ADDRESS")
# No mint is older: the backfill begins here.
CONTRACT_DEPLOYED_AT_BLOCK = env.integer(
    "CONTRACT_DEPLOYED_AT_BLOCK",
    {"BASE_MAINNET": 37_432_871, "BASE_SEPOLIA": 32_652_800}.get(NETWORK, 0),
    low=0,
    high=2**40,
)
GLISK_DEFAULT_AUTHOR_WALLET = env.account("GLISK_DEFAULT_AUTHOR_WALLET", is_real=IS_REAL_NETWORK)
DEFAULT_PROMPT = env.text("DEFAULT_PROMPT", min_length=1, max_length=1000)
MINT_CONFIRMATIONS = env.integer(
    "MINT_CONFIRMATIONS", 1 if NETWORK == "LOCAL" else 2, low=1, high=1000
)
