"""The one reader of the chain: `client` says what is asked, `rpc` how, on web3.py."""

from glisk.clients.chain.abi import (
    ADMIN_ROLE,
    CUSTOM_ERRORS,
    KEEPER_ROLE,
    MINTED_TOPIC,
    REVEALED_TOPIC,
    SELECTORS,
    already_revealed_id,
    encode_reveal,
    revealed_ids,
    revert_reason,
)
from glisk.clients.chain.answers import Block, FeeHistory, OnChainToken, RawLog, Receipt
from glisk.clients.chain.client import (
    CALLS_AT_ONCE,
    MOST_IDS,
    ChainClient,
    MinedTransactions,
    RevealFacts,
    Setup,
    Survey,
    TokenFacts,
    WrongChainError,
)
from glisk.clients.chain.refusals import VENDOR, RangeTooWideError, RevertError, RpcError
from glisk.clients.chain.rpc import Call, RpcClient

__all__ = [
    "ADMIN_ROLE",
    "CALLS_AT_ONCE",
    "CUSTOM_ERRORS",
    "KEEPER_ROLE",
    "MINTED_TOPIC",
    "MOST_IDS",
    "REVEALED_TOPIC",
    "SELECTORS",
    "VENDOR",
    "Block",
    "Call",
    "ChainClient",
    "FeeHistory",
    "MinedTransactions",
    "OnChainToken",
    "RangeTooWideError",
    "RawLog",
    "Receipt",
    "RevealFacts",
    "RevertError",
    "RpcClient",
    "RpcError",
    "Setup",
    "Survey",
    "TokenFacts",
    "WrongChainError",
    "already_revealed_id",
    "encode_reveal",
    "revealed_ids",
    "revert_reason",
]
