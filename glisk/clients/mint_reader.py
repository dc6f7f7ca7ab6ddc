"""Read mints from a node: logs by block range, block hashes, token facts; always in batches.

Ranges are what providers limit, each in its own words. Refusals that mean "ask for less" raise
`RangeTooWideError` with the range that the provider suggests, if it does. Texts: Alchemy's free
plan ("up to a 10 block range … this block range should work: [0x…, 0x…]"), its size limit ("Log
response size exceeded … [0x…, 0x…]"), geth ("query returned more than 10000 results"), and the
usual proxies ("block range is too wide", "exceed maximum block range").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from glisk.clients.chain import SELECTORS
from glisk.clients.rpc import VENDOR, Call, RevertError, RpcClient, RpcError
from glisk.errors import InvalidRequestError, ProviderError, TransientError

_OWNER_OF: Final = "0x6352211e"
_SUGGESTION: Final = re.compile(r"\[(0x[0-9a-f]+),\s*(0x[0-9a-f]+)\]", re.IGNORECASE)
_TOO_WIDE: Final = (
    "block range",  # Alchemy, proxies: "up to a 10 block range", "block range is too wide"
    "response size exceeded",  # Alchemy
    "query returned more than",  # geth, Infura
    "too many results",
    "range is too large",
    "limit exceeded",
)


class RangeTooWideError(ProviderError):
    """The provider answers for fewer blocks only; `blocks` is how many it suggests, if it does."""

    error_class = "range_too_wide"

    def __init__(self, message: str, *, blocks: int | None) -> None:
        super().__init__(message, vendor=VENDOR, code="range_too_wide")
        self.blocks = blocks


@dataclass(frozen=True)
class BlockFacts:
    number: int
    block_hash: str
    timestamp: int  # unix seconds


@dataclass(frozen=True)
class Survey:
    """The chain at one moment, in one round trip."""

    head: BlockFacts
    next_token_id: int
    logs: list[dict[str, Any]] | None  # None if the range was too wide
    too_wide: RangeTooWideError | None
    blocks: dict[int, BlockFacts | None]


@dataclass(frozen=True)
class OnChainToken:
    """What the contract says of one token; `exists` by its owner."""

    token_id: int
    exists: bool
    prompt_author: str
    owner: str
    revealed: bool
    uri: str


class MintReader:
    """Reads one contract by one node. Every method is one round trip, whatever it asks for."""

    def __init__(self, rpc: RpcClient, *, contract_address: str, topic: str) -> None:
        """`topic` is the first topic of the logs wanted: the hash of BatchMinted's signature."""
        self.rpc = rpc
        self.contract_address = contract_address
        self._topic = topic
        self.requests = 0

    @classmethod
    def from_settings(cls, *, topic: str) -> Self:
        from django.conf import settings

        return cls(
            RpcClient.from_settings(),
            contract_address=settings.GLISK_NFT_CONTRACT_ADDRESS,
            topic=topic,
        )

    def survey(self, *, from_block: int, blocks: Sequence[int] = ()) -> Survey:
        """Return the head, nextTokenId, the logs from `from_block` on, and the blocks asked for.

        Raises `TransientError` if the node does not answer or answers with a part only.
        """
        head, next_id, logs, *found = self._batch(
            [
                ("eth_getBlockByNumber", ["latest", False]),
                self._call(SELECTORS["nextTokenId"]),
                self._logs_call(hex(from_block), "latest"),
                *(("eth_getBlockByNumber", [hex(number), False]) for number in blocks),
            ]
        )
        too_wide = _as_too_wide(logs)
        if too_wide is None and isinstance(logs, ProviderError):
            if not _is_beyond_head(logs):
                raise logs
            logs = []
        return Survey(
            head=_block(_value(head)),
            next_token_id=_number(_value(next_id)),
            logs=None if too_wide else _list(logs),
            too_wide=too_wide,
            blocks={
                number: None if _value(block) is None else _block(block)
                for number, block in zip(blocks, found, strict=True)
            },
        )

    def mint_logs(self, *, from_block: int, to_block: int) -> list[dict[str, Any]]:
        """Return the raw logs of a range, both ends included.

        Raises `RangeTooWideError`, `TransientError`, or another `ProviderError`.
        """
        try:
            self.requests += 1
            method, params = self._logs_call(hex(from_block), hex(to_block))
            return _list(self.rpc.call(method, *params))
        except ProviderError as error:
            raise _as_too_wide(error) or error from None

    def head_and_next_token_id(self) -> tuple[BlockFacts, int]:
        head, next_id = self._batch(
            [("eth_getBlockByNumber", ["latest", False]), self._call(SELECTORS["nextTokenId"])]
        )
        return _block(_value(head)), _number(_value(next_id))

    def blocks(self, numbers: Sequence[int]) -> dict[int, BlockFacts | None]:
        """Return blocks by number; None for one that the node does not know."""
        found = self._batch([("eth_getBlockByNumber", [hex(n), False]) for n in numbers])
        return {
            number: None if _value(block) is None else _block(block)
            for number, block in zip(numbers, found, strict=True)
        }

    def receipts(self, tx_hashes: Sequence[str]) -> dict[str, dict[str, Any] | None]:
        """Return raw receipts by hash; None for a transaction that is in no block."""
        found = self._batch([("eth_getTransactionReceipt", [tx_hash]) for tx_hash in tx_hashes])
        return {
            tx_hash: receipt if isinstance(_value(receipt), dict) else None
            for tx_hash, receipt in zip(tx_hashes, found, strict=True)
        }

    def tokens(self, token_ids: Sequence[int]) -> dict[int, OnChainToken]:
        """Return what the contract says of the tokens."""
        calls: list[Call] = []
        for token_id in token_ids:
            word = f"{token_id:064x}"
            calls += [
                self._call(SELECTORS["tokenPromptAuthor"] + word),
                self._call(SELECTORS["isRevealed"] + word),
                self._call(_OWNER_OF + word),
                self._call(SELECTORS["tokenURI"] + word),
            ]
        answers = self._batch(calls)
        return {
            token_id: _token(token_id, *answers[4 * index : 4 * index + 4])
            for index, token_id in enumerate(token_ids)
        }

    def revealed(self, token_ids: Sequence[int]) -> list[int]:
        """Return those of the tokens that the contract calls revealed."""
        answers = self._batch(
            [self._call(SELECTORS["isRevealed"] + f"{token_id:064x}") for token_id in token_ids]
        )
        return [
            token_id
            for token_id, answer in zip(token_ids, answers, strict=True)
            if _number(_value(answer)) == 1
        ]

    def _batch(self, calls: Sequence[Call]) -> list[Any]:
        self.requests += 1
        return self.rpc.batch(calls)

    def _call(self, data: str) -> Call:
        return ("eth_call", [{"to": self.contract_address, "data": data}, "latest"])

    def _logs_call(self, from_block: str, to_block: str) -> Call:
        return (
            "eth_getLogs",
            [
                {
                    "address": self.contract_address,
                    "topics": [self._topic],
                    "fromBlock": from_block,
                    "toBlock": to_block,
                }
            ],
        )


def _as_too_wide(error: Any) -> RangeTooWideError | None:
    """Read a refusal that asks for a smaller range, whatever its form."""
    if not isinstance(error, RpcError | InvalidRequestError):
        return None
    text = str(error)
    if not any(known in text.lower() for known in _TOO_WIDE):
        return None
    suggested = _SUGGESTION.search(text)
    blocks = None
    if suggested:
        blocks = int(suggested[2], 16) - int(suggested[1], 16) + 1
    return RangeTooWideError(text, blocks=blocks if blocks and blocks > 0 else None)


def _is_beyond_head(error: ProviderError) -> bool:
    """Tell the refusal of a range that begins after the newest block: there is nothing there."""
    text = str(error).lower()
    return "invalid block range" in text or "beyond current head" in text or "after last" in text


def _value(result: Any) -> Any:
    if isinstance(result, ProviderError):
        raise result
    return result


def _list(value: Any) -> list[dict[str, Any]]:
    if not isinstance(_value(value), list):
        raise TransientError("chain: eth_getLogs gave no list", vendor=VENDOR)
    return [log for log in value if isinstance(log, dict)]


def _number(value: Any) -> int:
    try:
        return int(value, 16)
    except (TypeError, ValueError):
        raise TransientError(f"chain: expected a number, got {value!r}", vendor=VENDOR) from None


def _block(block: Any) -> BlockFacts:
    if not isinstance(block, dict):
        raise TransientError("chain: the node gave no block", vendor=VENDOR)
    return BlockFacts(
        number=_number(block.get("number")),
        block_hash=str(block.get("hash")).lower(),
        timestamp=_number(block.get("timestamp")),
    )


def _token(token_id: int, author: Any, revealed: Any, owner: Any, uri: Any) -> OnChainToken:
    exists = not isinstance(owner, RevertError)
    return OnChainToken(
        token_id=token_id,
        exists=exists,
        prompt_author=_address(_value(author)),
        owner=_address(_value(owner)) if exists else "",
        revealed=_number(_value(revealed)) == 1,
        uri="" if isinstance(uri, RevertError) else _text(_value(uri)),
    )


def _address(word: Any) -> str:
    return f"0x{_number(word):040x}"[-42:]


def _text(data: Any) -> str:
    try:
        return str(decode(["string"], bytes.fromhex(str(data).removeprefix("0x")))[0])
    except (DecodingError, ValueError):
        return ""
