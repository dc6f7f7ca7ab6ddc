"""Read mints and reveals from a node: logs by block range, blocks, token facts; in batches.

What a node says is taken as a whole or not at all: a missing member of a batch, an answer of the
wrong form or a block that the node does not have yet raise `TransientError`, so that nobody takes
silence for "there is nothing".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

from glisk.clients.chain import SELECTORS
from glisk.clients.chain_answers import ok
from glisk.clients.log_ranges import as_too_wide, is_beyond_head
from glisk.clients.mint_answers import (
    BlockFacts,
    OnChainToken,
    RawLog,
    Survey,
    read_block,
    read_blocks,
    read_number,
    read_token,
    revealed_ids,
)
from glisk.clients.rpc import VENDOR, Call, RpcClient
from glisk.errors import AccountError, ProviderError, TransientError

__all__ = [
    "CALLS_AT_ONCE",
    "MOST_IDS",
    "REVEALED_TOPIC",
    "BlockFacts",
    "MintReader",
    "OnChainToken",
    "RawLog",
    "Survey",
    "WrongChainError",
    "revealed_ids",
]

_OWNER_OF: Final = "0x6352211e"
# TokensRevealed(uint256[] tokenIds)
REVEALED_TOPIC: Final = "0x5f36dfedf769ad12bf71aec843edc397276a255b70d51016d99f5fb020dfd902"

# A contract that counts further is another one: nobody shall look for so many missing tokens.
MOST_IDS: Final = 100_000_000
CALLS_AT_ONCE: Final = 500  # Alchemy takes 1,000; RpcClient makes them fewer where it must


class WrongChainError(AccountError):
    """The node belongs to another chain: nothing that it says is about our tokens."""

    error_class = "chain_setup"


class MintReader:
    """Reads one contract by one node. A method is one round trip per CALLS_AT_ONCE calls."""

    def __init__(
        self, rpc: RpcClient, *, contract_address: str, topic: str, chain_id: int | None = None
    ) -> None:
        """`topic`: the hash of BatchMinted's signature. `chain_id`: refuse any other chain."""
        self.rpc = rpc
        self.contract_address = contract_address
        self._topic = topic
        self._chain_id = chain_id
        self.requests = 0  # HTTP round trips
        self.calls = 0

    @classmethod
    def from_settings(cls, *, topic: str) -> Self:
        from django.conf import settings

        return cls(
            RpcClient.from_settings(),
            contract_address=settings.GLISK_NFT_CONTRACT_ADDRESS,
            topic=topic,
            chain_id=settings.CHAIN_ID,
        )

    # -- the chain now ------------------------------------------------------------------

    def survey(self, *, blocks: Iterable[int] = ()) -> Survey:
        """Return the head, nextTokenId and the blocks asked for, in one round trip.

        Raises `TransientError` if the node does not answer, or with a part only, and
        `WrongChainError` if it is on another chain.
        """
        numbers = sorted(set(blocks))
        chain_id, head, next_id, *found = self._batch(
            [
                ("eth_chainId", []),
                _block_call("latest"),
                self._call(SELECTORS["nextTokenId"]),
                *(_block_call(hex(number)) for number in numbers),
            ]
        )
        actual = read_number(ok(chain_id))
        if self._chain_id is not None and actual != self._chain_id:
            raise WrongChainError(
                f"chain: the node is on chain {actual}, but NETWORK means {self._chain_id}: "
                "check RPC_URL.",
                vendor=VENDOR,
            )
        if ok(next_id) == "0x":
            raise TransientError(
                f"chain: there is no contract at {self.contract_address} (yet): check "
                "GLISK_NFT_CONTRACT_ADDRESS and RPC_URL.",
                vendor=VENDOR,
                code="no_contract",
            )
        following = read_number(ok(next_id))
        if not 1 <= following <= MOST_IDS:
            raise TransientError(
                f"chain: nextTokenId() of {self.contract_address} is {following}, which GliskNFT "
                "cannot have counted: check GLISK_NFT_CONTRACT_ADDRESS.",
                vendor=VENDOR,
                code="no_contract",
            )
        return Survey(
            head=read_block(ok(head)),
            next_token_id=following,
            blocks=read_blocks(numbers, found),
        )

    def blocks(self, numbers: Iterable[int]) -> dict[int, BlockFacts | None]:
        """Return blocks by number; None for one that the node does not know."""
        wanted = sorted(set(numbers))
        return read_blocks(wanted, self._batch([_block_call(hex(number)) for number in wanted]))

    def next_token_ids(self, numbers: Iterable[int]) -> dict[int, int]:
        """Return nextTokenId at the end of each block, 1 where there was no contract yet.

        Raises a `ProviderError` if the node does not keep the state of one of them.
        """
        wanted = sorted(set(numbers))
        answers = self._batch([self._call(SELECTORS["nextTokenId"], n) for n in wanted])
        return {
            number: 1 if ok(answer) == "0x" else read_number(answer)
            for number, answer in zip(wanted, answers, strict=True)
        }

    # -- logs ---------------------------------------------------------------------------

    def logs(self, *, first: int, last: int, near_head: bool = False) -> list[RawLog]:
        """Return the raw logs of mints and reveals in a range of blocks, both ends included.

        `near_head`: the last block may be too new for this very node; have it prove that it
        knows it. Raises `RangeTooWideError` for every refusal but those of the account and the
        rate, and for silence; `TransientError`, or another `ProviderError`.
        """
        call, block = self._logs_call(first, last), None
        try:
            if near_head:
                logs, block = self._batch([call, _block_call(hex(last))])
            else:
                self.requests, self.calls = self.requests + 1, self.calls + 1
                logs = self.rpc.call(call[0], *call[1])
            ok(logs)
        except ProviderError as error:
            raise _log_error(error, last) from None
        if near_head and ok(block) is None:
            raise _behind(last)
        return self._read_logs(logs, first, last)

    def logs_of_spans(self, spans: Sequence[tuple[int, int]]) -> list[list[RawLog]]:
        """Return the raw logs of several ranges at once; raises as `logs` does."""
        try:
            answers = self._batch([self._logs_call(first, last) for first, last in spans])
            for answer in answers:
                ok(answer)
        except ProviderError as error:
            raise _log_error(error, spans[-1][1]) from None
        return [self._read_logs(logs, *span) for logs, span in zip(answers, spans, strict=True)]

    def is_reveal(self, log: RawLog) -> bool:
        """Tell a log of a reveal from one of a mint."""
        return str(log["topics"][0]).lower() == REVEALED_TOPIC

    def is_mint(self, log: Any) -> bool:
        """Tell whether any log, of a receipt for example, is a mint of this contract."""
        return isinstance(log, dict) and self._is_ours(log) and not self.is_reveal(log)

    def _read_logs(self, logs: Any, first: int, last: int) -> list[RawLog]:
        """Check that an answer holds what was asked for; logs that were taken back are left out."""
        if not isinstance(logs, list) or not all(self._is_ours(log) for log in logs):
            raise TransientError("chain: eth_getLogs gave something else", vendor=VENDOR)
        if any(not first <= read_number(log.get("blockNumber")) <= last for log in logs):
            raise TransientError("chain: eth_getLogs gave logs of other blocks", vendor=VENDOR)
        return [log for log in logs if log.get("removed") is not True]

    def _is_ours(self, log: Any) -> bool:
        if not isinstance(log, dict):
            return False
        topics = log.get("topics")
        known = (self._topic, REVEALED_TOPIC)
        return (
            str(log.get("address")).lower() == self.contract_address.lower()
            and isinstance(topics, list)
            and len(topics) > 0
            and str(topics[0]).lower() in known
        )

    # -- transactions and tokens --------------------------------------------------------

    def receipts(self, tx_hashes: Iterable[str]) -> dict[str, dict[str, Any] | None]:
        """Return raw receipts by hash; None for a transaction that is in no block."""
        wanted = sorted(set(tx_hashes))
        found = self._batch([("eth_getTransactionReceipt", [tx_hash]) for tx_hash in wanted])
        receipts: dict[str, dict[str, Any] | None] = {}
        for tx_hash, answer in zip(wanted, found, strict=True):
            receipt = ok(answer)
            if receipt is not None and not isinstance(receipt, dict):
                raise TransientError("chain: the node gave no receipt", vendor=VENDOR)
            receipts[tx_hash] = receipt
        return receipts

    def tokens(
        self, token_ids: Sequence[int], *, block: int | None = None
    ) -> dict[int, OnChainToken]:
        """Return what the contract says of the tokens, now or at the end of a block.

        At a block before the contract there was none of them.
        """
        calls: list[Call] = []
        for token_id in token_ids:
            word = f"{token_id:064x}"
            calls += [
                self._call(SELECTORS["tokenPromptAuthor"] + word, block),
                self._call(SELECTORS["isRevealed"] + word, block),
                self._call(_OWNER_OF + word, block),
                self._call(SELECTORS["tokenURI"] + word, block),
            ]
        answers = self._batch(calls)
        if block is not None and answers and all(answer == "0x" for answer in answers):
            return {i: OnChainToken(i, False, "0x" + "0" * 40, "", False, "") for i in token_ids}
        return {
            token_id: read_token(token_id, *answers[4 * index : 4 * index + 4])
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
            if read_number(ok(answer)) == 1
        ]

    # -- calls --------------------------------------------------------------------------

    def _batch(self, calls: Sequence[Call]) -> list[Any]:
        answers: list[Any] = []
        for start in range(0, len(calls), CALLS_AT_ONCE):
            part = calls[start : start + CALLS_AT_ONCE]
            self.requests += 1
            self.calls += len(part)
            answers += self.rpc.batch(part)
        return answers

    def _call(self, data: str, block: int | None = None) -> Call:
        tag = "latest" if block is None else hex(block)
        return ("eth_call", [{"to": self.contract_address, "data": data}, tag])

    def _logs_call(self, first: int, last: int) -> Call:
        return (
            "eth_getLogs",
            [
                {
                    "address": self.contract_address,
                    "topics": [[self._topic, REVEALED_TOPIC]],
                    "fromBlock": hex(first),
                    "toBlock": hex(last),
                }
            ],
        )


def _log_error(error: ProviderError, last: int) -> ProviderError:
    if is_beyond_head(error):
        return _behind(last)
    return as_too_wide(error) or error


def _behind(block: int) -> TransientError:
    return TransientError(
        f"chain: the node does not know block {block} yet; it is asked again.", vendor=VENDOR
    )


def _block_call(tag: str) -> Call:
    return ("eth_getBlockByNumber", [tag, False])
