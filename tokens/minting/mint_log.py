"""Read a `BatchMinted` log, from whomever it came: strictly, or not at all.

    BatchMinted(address indexed minter, address indexed promptAuthor,
                uint256 indexed startTokenId, uint256 quantity, uint256 totalPaid)

The webhook and the backfill share this module. A value is taken as an integer or as 0x-hex,
because Alchemy's GraphQL logs carry integers where RPC logs carry hex. Whatever a `MintLog`
holds fits the columns of `mint_events` and `tokens_s0`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from glisk.fields import is_hash, normalise_address

BATCH_MINTED_TOPIC: Final = "0x20c0d4a5bab7118059cf1d2fd0403c4f29a05e446d435b347f90b80778374c54"
MAX_QUANTITY: Final = 50  # the contract's MAX_BATCH_SIZE
LARGEST_ID: Final = 2**63 - 1  # of a token, that a bigint column holds

_MAX_BIGINT: Final = 2**63 - 1
_MAX_INTEGER: Final = 2**31 - 1
_TWO_WORDS = re.compile(r"0x[0-9a-fA-F]{128}")
_QUANTITY = re.compile(r"0x(0|[1-9a-fA-F][0-9a-fA-F]{0,63})")  # of JSON-RPC: no leading zeros

# What a log must tell.
_PARTS: Final = (
    *("topics", "data", "transactionHash", "logIndex"),
    *("blockNumber", "blockHash", "blockTimestamp"),
)


class MalformedLog(ValueError):
    """The log is none that the contract can have emitted; the text says why, in our words."""


class IncompleteLog(MalformedLog):
    """The sender left facts out without which a mint cannot be registered faithfully."""


@dataclass(frozen=True)
class MintLog:
    """A mint as the chain tells it: `quantity` tokens from `start_token_id` on.

    Hashes are lower-case hex, addresses EIP-55, the timestamp is the block's, aware, in UTC.
    """

    tx_hash: str
    log_index: int
    block_number: int
    block_hash: str
    block_timestamp: datetime
    minter: str
    prompt_author: str
    start_token_id: int
    quantity: int
    total_paid_wei: int

    @property
    def key(self) -> tuple[str, int]:
        """What identifies a log on a chain: transaction and block-wide index."""
        return self.tx_hash, self.log_index

    @property
    def facts(self) -> tuple[str, str, int, int]:
        """What a reorg does not change as long as it is the same mint."""
        return self.minter, self.prompt_author, self.start_token_id, self.quantity

    @property
    def token_ids(self) -> range:
        return range(self.start_token_id, self.start_token_id + self.quantity)


def decode_mint_log(log: Mapping[str, Any]) -> MintLog:
    """Return the mint that a log tells of; whose contract it is, the caller has checked.

    The log has the form of JSON-RPC (`eth_getLogs`), with `blockTimestamp` in unix seconds, which
    older nodes leave out. Raises `IncompleteLog` if a part is None, and `MalformedLog` if one is
    not what the contract and the node can have written.
    """
    if missing := [name for name in _PARTS if log.get(name) is None]:
        raise IncompleteLog(f"the sender left out: {', '.join(missing)}")
    topics, data = log["topics"], log["data"]
    if not isinstance(topics, list | tuple) or len(topics) != 4 or not all(map(is_hash, topics)):
        raise MalformedLog("the topics are not four 32-byte words")
    if topics[0].lower() != BATCH_MINTED_TOPIC:
        raise MalformedLog("the log is not of BatchMinted")
    if not isinstance(data, str) or not _TWO_WORDS.fullmatch(data):
        raise MalformedLog("the data is not two 32-byte words")
    start_token_id, quantity = int(topics[3], 16), int(data[2:66], 16)
    if not 1 <= quantity <= MAX_QUANTITY:
        raise MalformedLog(f"the quantity is not from 1 to {MAX_QUANTITY}")
    if not 1 <= start_token_id <= LARGEST_ID - quantity:
        raise MalformedLog("the start token id is out of range")
    return MintLog(
        tx_hash=read_hash(log["transactionHash"], "transaction hash"),
        log_index=read_number(log["logIndex"], "log index", high=_MAX_INTEGER),
        block_number=read_number(log["blockNumber"], "block number", high=_MAX_BIGINT),
        block_hash=read_hash(log["blockHash"], "block hash"),
        block_timestamp=read_timestamp(log["blockTimestamp"]),
        minter=_read_address(topics[1]),
        prompt_author=_read_address(topics[2]),
        start_token_id=start_token_id,
        quantity=quantity,
        total_paid_wei=int(data[66:], 16),
    )


def read_number(value: object, name: str, *, high: int, low: int = 0) -> int:
    """Return an integer given as such or as 0x-hex; raise `MalformedLog` unless low..high."""
    if isinstance(value, str) and _QUANTITY.fullmatch(value):
        number = int(value, 16)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        raise MalformedLog(f"the {name} is not a number")
    if not low <= number <= high:
        raise MalformedLog(f"the {name} is out of range")
    return number


@lru_cache(maxsize=4096)  # a checksum costs a hash, and the same wallets mint again and again
def _read_address(word: str) -> str:
    if word[2:26] != "0" * 24:
        raise MalformedLog("an address topic has more than 20 bytes")
    return normalise_address("0x" + word[26:])


def read_hash(value: object, name: str) -> str:
    if not is_hash(value):
        raise MalformedLog(f"the {name} is not a 32-byte word")
    return value.lower()


def read_timestamp(value: object) -> datetime:
    """Return a block's time, given in unix seconds; raise `MalformedLog` if it is none."""
    # The last second of the year 9999 is where datetime ends.
    seconds = read_number(value, "block timestamp", low=1, high=253_402_300_799)
    return datetime.fromtimestamp(seconds, tz=UTC)
