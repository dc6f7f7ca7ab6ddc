"""The chain and its contract, the keeper's reveals, and the marketplace that hears of them."""

import sys
from importlib.util import find_spec

from glisk.config import REQUIRED
from glisk.settings.processes import ENABLE_REVEAL_WORKER, IS_COMMAND, PRODUCTION, env

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
RPC_URL = env.secret_url("RPC_URL", "")
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
GLISK_DEFAULT_AUTHOR_WALLET = env.address("GLISK_DEFAULT_AUTHOR_WALLET", is_real=IS_REAL_NETWORK)
DEFAULT_PROMPT = env.text("DEFAULT_PROMPT", min_length=1, max_length=1000)
MINT_CONFIRMATIONS = env.integer(
    "MINT_CONFIRMATIONS", 1 if NETWORK == "LOCAL" else 2, low=1, high=1000
)

# -- Reveals ----------------------------------------------------------------------------
# A key of AWS KMS, which never leaves it. Its address is pinned by KEEPER_ADDRESS.
KEEPER_KMS_KEY_ID = env.text("KEEPER_KMS_KEY_ID", "")
# Only the process that signs has the key; no other should even be able to read it. An emergency's
# command takes it where it can, since it does the work of a worker that is dead.
_in_reach = env.key_in_reach("KEEPER_PRIVATE_KEY")
_by_hand = not {"reveal_tokens", "manual_reveal"}.isdisjoint(sys.argv[1:2])
SIGNS = ("qcluster" in sys.argv[1:2] and ENABLE_REVEAL_WORKER) or (
    _by_hand and (bool(KEEPER_KMS_KEY_ID) or _in_reach)
)
KEEPER_KEY_IN_REACH = _in_reach and not SIGNS
KEEPER_PRIVATE_KEY, KEEPER_KEY_FILE = env.private_key(
    "KEEPER_PRIVATE_KEY", needed=SIGNS and not KEEPER_KMS_KEY_ID
)
KEEPER_ADDRESS = env.address("KEEPER_ADDRESS", "", is_real=IS_REAL_NETWORK)
if KEEPER_KEY_FILE.address and KEEPER_ADDRESS not in ("", KEEPER_KEY_FILE.address):
    env.fault("KEEPER_ADDRESS", "is not the address of the keeper's private key")
KEEPER_ADDRESS = KEEPER_ADDRESS or KEEPER_KEY_FILE.address
_given = env.text("KEEPER_PRIVATE_KEY", "")
if KEEPER_KMS_KEY_ID:
    if _given or env.text("KEEPER_PRIVATE_KEY_FILE", ""):
        env.fault("KEEPER_KMS_KEY_ID", "is set as well as a private key; keep one of them")
    if SIGNS and not KEEPER_ADDRESS:
        env.fault("KEEPER_ADDRESS", "is not set; manage.py check_setup tells the KMS key's address")
    if find_spec("boto3") is None:
        env.fault("KEEPER_KMS_KEY_ID", "needs the package boto3 (pip install boto3)")
if _given and not IS_COMMAND and (IS_REAL_NETWORK or PRODUCTION):
    env.fault(
        "KEEPER_PRIVATE_KEY",
        "is given to a web process, which signs nothing: whoever gets into it has the key. Give it "
        "as KEEPER_PRIVATE_KEY_FILE, a file that only the worker's user can read",
    )
KEEPER_GAS_STRATEGY = env.choice("KEEPER_GAS_STRATEGY", "medium", ("slow", "medium", "fast"))
REVEAL_GAS_BUFFER = env.number("REVEAL_GAS_BUFFER", 1.2, low=1.0, high=3.0)
REVEAL_MAX_GAS_PRICE_GWEI = env.number("REVEAL_MAX_GAS_PRICE_GWEI", 1.0, low=0.000001, high=10_000)
# The chain's least base fee (Base mainnet since 19 Feb 2026). An offer is twice the base fee and
# a tip: under a ceiling near the floor every reveal would wait for ever.
_least_base_fee_gwei = {"BASE_MAINNET": 0.005, "BASE_SEPOLIA": 0.0002}.get(NETWORK, 0.0)
if 4 * _least_base_fee_gwei > REVEAL_MAX_GAS_PRICE_GWEI:
    env.fault(
        "REVEAL_MAX_GAS_PRICE_GWEI",
        f"is below {4 * _least_base_fee_gwei:g}, four times the chain's least base fee: "
        "no reveal would ever be sent",
    )
# Below so many reveals that the keeper's balance pays for, it warns.
KEEPER_LOW_REVEALS = env.integer("KEEPER_LOW_REVEALS", 500, low=0, high=10_000_000)
REVEAL_MAX_IN_FLIGHT = env.integer("REVEAL_MAX_IN_FLIGHT", 4, low=1, high=16)
TRANSACTION_TIMEOUT_SECONDS = env.number("TRANSACTION_TIMEOUT_SECONDS", 180, low=1, high=86_400)
REVEAL_CONFIRMATIONS = env.integer("REVEAL_CONFIRMATIONS", 1, low=1, high=1000)
REVEAL_SAFE_CONFIRMATIONS = env.integer("REVEAL_SAFE_CONFIRMATIONS", 64, low=1, high=10_000)
BATCH_REVEAL_WAIT_SECONDS = env.number("BATCH_REVEAL_WAIT_SECONDS", 5.0, low=0, high=3600)
BATCH_REVEAL_MAX_TOKENS = env.integer("BATCH_REVEAL_MAX_TOKENS", 50, low=1, high=120)

# -- Marketplace ------------------------------------------------------------------------
OPENSEA_API_KEY = env.secret("OPENSEA_API_KEY", "")
OPENSEA_API_URL = env.url("OPENSEA_API_URL", "https://api.opensea.io")
OPENSEA_REQUESTS_PER_MINUTE = env.integer("OPENSEA_REQUESTS_PER_MINUTE", 120, low=1, high=6000)
