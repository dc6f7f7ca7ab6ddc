"""The keeper's reveals, what they may cost, and the marketplace that hears of them."""

import sys

from glisk.config.development_accounts import address_of
from glisk.settings.chain import IS_REAL_NETWORK, NETWORK
from glisk.settings.environment import env
from glisk.settings.worker import ENABLE_REVEAL_WORKER

# Only the process that signs has the key; no other should even be able to read it.
SIGNS = "qcluster" in sys.argv[1:2] and ENABLE_REVEAL_WORKER
KEEPER_PRIVATE_KEY = env.private_key("KEEPER_PRIVATE_KEY", needed=SIGNS)
KEEPER_KEY_IN_REACH = not SIGNS and env.key_in_reach("KEEPER_PRIVATE_KEY")
KEEPER_ADDRESS = env.account("KEEPER_ADDRESS", "", is_real=IS_REAL_NETWORK)
if KEEPER_PRIVATE_KEY and KEEPER_ADDRESS and address_of(KEEPER_PRIVATE_KEY) != KEEPER_ADDRESS:
    env.fault("KEEPER_ADDRESS", "is not the address of the keeper's private key")
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
