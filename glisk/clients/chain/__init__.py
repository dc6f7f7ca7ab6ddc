"""The one reader of the chain: `client` says what is asked, `rpc` how, on web3.py."""

from glisk.clients.chain.client import ChainClient, RevealFacts, Survey
from glisk.clients.chain.codec import (
    CUSTOM_ERRORS,
    KEEPER_ROLE,
    MINTED_TOPIC,
    REVEALED_TOPIC,
    SELECTORS,
    Block,
    FeeHistory,
    OnChainToken,
    RawLog,
    Receipt,
    already_revealed_id,
    encode_reveal,
    revealed_ids,
    revert_reason,
)
from glisk.clients.chain.refusals import VENDOR, RangeTooWideError, RevertError, RpcError, ok
from glisk.clients.chain.rpc import CALLS_AT_ONCE, Call, RpcClient

__all__ = [
    "CALLS_AT_ONCE",
    "CUSTOM_ERRORS",
    "KEEPER_ROLE",
    "MINTED_TOPIC",
    "REVEALED_TOPIC",
    "SELECTORS",
    "VENDOR",
    "Block",
    "Call",
    "ChainClient",
    "FeeHistory",
    "OnChainToken",
    "RangeTooWideError",
    "RawLog",
    "Receipt",
    "RevealFacts",
    "RevertError",
    "RpcClient",
    "RpcError",
    "Survey",
    "already_revealed_id",
    "encode_reveal",
    "ok",
    "revealed_ids",
    "revert_reason",
]
