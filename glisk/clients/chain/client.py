"""The one reader of the chain, and the sending of what was signed elsewhere.

What a node says is taken as a whole or not at all: a missing member of a batch, an answer of the
wrong form or a block that the node does not have yet raise `TransientError`, so that nobody takes
silence for "there is nothing".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from django.conf import settings

from glisk.clients.chain.codec import (
    ADMIN_ROLE,
    KEEPER_ROLE,
    MINTED_TOPIC,
    REVEALED_TOPIC,
    SELECTORS,
    Block,
    FeeHistory,
    OnChainToken,
    RawLog,
    Receipt,
    encode_reveal,
    number_or_none,
    read_address,
    read_block,
    read_fee_history,
    read_number,
    read_receipt,
    read_token,
    word,
)
from glisk.clients.chain.refusals import (
    VENDOR,
    RevertError,
    RpcError,
    as_too_wide,
    is_beyond_head,
    ok,
)
from glisk.clients.chain.rpc import CALLS_AT_ONCE, Call, RpcClient
from glisk.errors import AccountError, ProviderError, TransientError

# A contract that counts further is another one: nobody shall look for so many missing tokens.
_MOST_IDS: Final = 100_000_000

# Where Base tells what Ethereum charges for a transaction's data; other chains have no code there.
# https://specs.optimism.io/protocol/predeploys.html#gaspriceoracle
GAS_PRICE_ORACLE: Final = "0x420000000000000000000000000000000000000F"
_L1_FEE_UPPER_BOUND: Final = "0xf1c7a58b"  # getL1FeeUpperBound(uint256 bytes), since Fjord
# The fee is asked for so many bytes, a large reveal: it grows with them.
_SAMPLE_BYTES: Final = 10_000

Reveal = tuple[Sequence[int], Sequence[str]]  # token ids, URIs


@dataclass(frozen=True)
class Survey:
    """The chain at one moment, in one round trip; a block is None if the node does not know it."""

    head: Block
    next_token_id: int
    blocks: dict[int, Block | None]


@dataclass(frozen=True)
class MinedTransactions:
    chain_id: int
    head: Block
    transaction_count: int
    receipts: dict[str, Receipt | None]


@dataclass(frozen=True)
class TokenFacts:
    exists: bool
    prompt_author: str
    revealed: bool


@dataclass(frozen=True)
class RevealFacts:
    """What the chain says at the block `head`."""

    head: Block
    chain_id: int
    has_code: bool = False
    is_keeper: bool = False
    tokens: dict[int, TokenFacts] = field(default_factory=dict)
    block_hashes: dict[int, str | None] = field(default_factory=dict)  # of the mints' blocks
    transaction_count: int = 0  # of the keeper, mined
    balance_wei: int = 0
    # The contract's nextTokenId when `confirmations` blocks lay above: ids below are settled.
    confirmed_next_token_id: int = 0


class ChainClient:
    """Reads one contract by one node, and knows no private key. Thread-safe.

    A method is one round trip per CALLS_AT_ONCE calls, where it does not say otherwise (`requests`
    and `calls` count them). All raise `TransientError` if the node does not answer, or with a part
    only, and another `ProviderError` if it refuses.
    """

    def __init__(
        self, rpc: RpcClient, *, contract_address: str, chain_id: int | None = None
    ) -> None:
        """`chain_id`: have `survey` refuse any other chain."""
        self.rpc = rpc
        self.contract_address = contract_address
        self._chain_id = chain_id
        self.requests = self.calls = 0

    @classmethod
    def from_settings(cls) -> Self:
        return cls(
            RpcClient(settings.RPC_URL),
            contract_address=settings.GLISK_NFT_CONTRACT_ADDRESS,
            chain_id=settings.CHAIN_ID,
        )

    # -- the chain now ------------------------------------------------------------------

    def survey(self, *, blocks: Iterable[int] = ()) -> Survey:
        """Return the head, nextTokenId and the blocks asked for, in one round trip.

        Raises `AccountError` if the node is on another chain.
        """
        numbers = sorted(set(blocks))
        found = self._batch(
            [
                ("eth_chainId", []),
                _block_call("latest"),
                self._call("nextTokenId"),
                *map(_block_call, numbers),
            ]
        )
        actual = read_number(ok(found[0]))
        if self._chain_id not in (None, actual):
            raise AccountError(
                f"chain: the node is on chain {actual}, but NETWORK means {self._chain_id}: "
                "check RPC_URL.",
                vendor=VENDOR,
            )
        next_id = number_or_none(ok(found[2]))
        if next_id is None or not 1 <= next_id <= _MOST_IDS:
            raise TransientError(
                f"chain: no contract at {self.contract_address}, or another one (nextTokenId() is "
                f"{next_id}, which GliskNFT cannot have counted): check "
                "GLISK_NFT_CONTRACT_ADDRESS and RPC_URL.",
                vendor=VENDOR,
                code="no_contract",
            )
        return Survey(read_block(ok(found[1])), next_id, _read_blocks(numbers, found[3:]))

    def blocks(self, numbers: Iterable[int]) -> dict[int, Block | None]:
        """Return blocks by number; None for one that the node does not know."""
        wanted = sorted(set(numbers))
        return _read_blocks(wanted, self._batch([_block_call(number) for number in wanted]))

    def block_hashes(self, numbers: Iterable[int]) -> dict[int, str | None]:
        return _hashes(self.blocks(numbers))

    def next_token_ids(self, numbers: Iterable[int]) -> dict[int, int]:
        """Return nextTokenId at the end of each block, 1 where there was no contract yet.

        Raises a `ProviderError` if the node does not keep the state of one of them.
        """
        wanted = sorted(set(numbers))
        found = self._batch([self._call("nextTokenId", at=hex(number)) for number in wanted])
        return {
            number: number_or_none(ok(answer)) or 1
            for number, answer in zip(wanted, found, strict=True)
        }

    # -- a reveal -----------------------------------------------------------------------

    def reveal_facts(
        self,
        *,
        keeper: str,
        token_ids: Sequence[int],
        mint_blocks: Sequence[int],
        confirmations: int = 1,
    ) -> RevealFacts:
        """Read all that the gate and the nonce need, in two round trips for any number of tokens.

        The node behind an RPC URL is often several, and each may answer a part of a batch. So the
        newest block is asked for first, and every fact of just that block, by its hash (EIP-1898):
        a node that does not know it, or has another one in its place, says so.
        """
        head = read_block(self._single(_block_call("latest")))
        # requireCanonical: the state of a block that a reorg took away meanwhile is no answer.
        at = {"blockHash": head.block_hash, "requireCanonical": True}
        settled = hex(max(0, head.number - confirmations + 1))
        who = word(int(keeper, 16))
        answers = self._batch(
            [
                ("eth_getCode", [self.contract_address, at]),
                self._call("hasRole", KEEPER_ROLE + who, at),
                self._call("hasRole", ADMIN_ROLE + who, at),
                ("eth_getTransactionCount", [keeper, at]),
                ("eth_getBalance", [keeper, at]),
                self._call("nextTokenId", at=at),
                self._call("nextTokenId", at=settled),
                *(self._call("tokenPromptAuthor", word(i), at) for i in token_ids),
                *(self._call("isRevealed", word(i), at) for i in token_ids),
                ("eth_chainId", []),
                # By its number, as the mints' blocks: whether both ways lead to one chain.
                *map(_block_call, [head.number, *mint_blocks]),
            ]
        )
        code, *found = map(_pinned, answers)
        tokens_end = 6 + 2 * len(token_ids)
        chain_id, blocks = read_number(found[tokens_end]), found[tokens_end + 1 :]
        if not isinstance(code, str) or len(code) <= len("0x"):  # every call to it would answer 0x
            return RevealFacts(head, chain_id)
        # The empty answer of another contract, or of a block before ours, counts as 0.
        values = ["0x0" if value == "0x" else value for value in found[:tokens_end]]
        numbers = list(map(read_number, values))
        count, balance, next_id, settled_next_id = numbers[2:6]
        authors, flags = values[6 : 6 + len(token_ids)], numbers[6 + len(token_ids) :]
        hashes = _hashes(_read_blocks([head.number, *mint_blocks], blocks))
        if hashes[head.number] != head.block_hash:
            raise _lost_block("another block has its number now")
        return RevealFacts(
            head=head,
            chain_id=chain_id,
            has_code=True,
            is_keeper=numbers[0] > 0 or numbers[1] > 0,
            tokens={
                token_id: TokenFacts(1 <= token_id < next_id, read_address(author), flag > 0)
                for token_id, author, flag in zip(token_ids, authors, flags, strict=True)
            },
            block_hashes={number: hashes[number] for number in mint_blocks},
            transaction_count=count,
            balance_wei=balance,
            confirmed_next_token_id=settled_next_id,
        )

    def simulate_reveals(
        self, *, keeper: str, reveals: Sequence[Reveal]
    ) -> list[RevertError | None]:
        """Try each reveal by itself on the newest block, all at once; None if it would work."""
        datas = [encode_reveal(*reveal) for reveal in reveals]
        found = self._batch(
            [("eth_call", [self._reveal_call(keeper, data), "latest"]) for data in datas]
        )
        return list(map(_revert_or_none, found))

    def explain_revert(
        self, *, keeper: str, data: str, gas_limit: int, block_number: int
    ) -> RevertError | None:
        """Repeat a transaction that reverted, at the end of its block; None if it works there.

        Raises a `ProviderError` also for what is no revert ("out of gas").
        """
        transaction = self._reveal_call(keeper, data) | {"gas": hex(gas_limit)}
        (answer,) = self._batch([("eth_call", [transaction, hex(block_number)])])
        return _revert_or_none(answer)

    def fees_and_gas(self, *, keeper: str, data: str, percentile: int) -> tuple[FeeHistory, int]:
        """Return the fees of the last ten blocks, and the gas that the call would use.

        Raises `RevertError` if the call would revert.
        """
        gas_call: Call = ("eth_estimateGas", [self._reveal_call(keeper, data)])
        history, l1_fee, gas = self._batch([*_fee_calls(percentile), gas_call])
        return self._fee_history(history, l1_fee), read_number(ok(gas))

    def fee_history(self, *, percentile: int) -> FeeHistory:
        return self._fee_history(*self._batch(_fee_calls(percentile)))

    def _fee_history(self, history: Any, l1_fee: Any) -> FeeHistory:
        charged = "0x" if isinstance(l1_fee, RevertError) else ok(l1_fee)
        per_byte = -(-(number_or_none(charged) or 0) // _SAMPLE_BYTES)
        return read_fee_history(ok(history), l1_fee_per_byte_wei=per_byte)

    def send_raw_transaction(self, raw: bytes) -> None:
        """Hand signed bytes to the node; raise what it says (see reveals.pipeline.send)."""
        self._single(("eth_sendRawTransaction", ["0x" + raw.hex()]))

    # -- transactions -------------------------------------------------------------------

    def mined_transactions(self, *, keeper: str, tx_hashes: Sequence[str]) -> MinedTransactions:
        found = self._batch(
            [
                ("eth_chainId", []),
                _block_call("latest"),
                ("eth_getTransactionCount", [keeper, "latest"]),
                *map(_receipt_call, tx_hashes),
            ]
        )
        chain_id, head, count, *receipts = map(ok, found)
        return MinedTransactions(
            read_number(chain_id),
            read_block(head),
            read_number(count),
            dict(zip(tx_hashes, map(read_receipt, receipts), strict=True)),
        )

    def receipts(self, tx_hashes: Iterable[str]) -> dict[str, Receipt | None]:
        """Return receipts by hash; None for a transaction that is in no block."""
        wanted = sorted(set(tx_hashes))
        found = self._batch([_receipt_call(tx_hash) for tx_hash in wanted])
        return {h: read_receipt(ok(answer)) for h, answer in zip(wanted, found, strict=True)}

    # -- logs ---------------------------------------------------------------------------

    def logs(self, *, first: int, last: int, near_head: bool = False) -> list[RawLog]:
        """Return the raw logs of mints and reveals in a range of blocks, both ends included.

        `near_head`: the last block may be too new for this very node; have it prove that it
        knows it. Raises `RangeTooWideError` for every refusal but those of the account and the
        rate, and for silence.
        """
        wanted = {
            "address": self.contract_address,
            "topics": [[MINTED_TOPIC, REVEALED_TOPIC]],
            "fromBlock": hex(first),
            "toBlock": hex(last),
        }
        call: Call = ("eth_getLogs", [wanted])
        block: Any = "known"
        try:
            if near_head:
                logs, block = self._batch([call, _block_call(last)])
            else:
                logs = self._single(call)
            ok(logs)
        except ProviderError as error:
            if not is_beyond_head(error):
                raise as_too_wide(error) or error from None
            block = None
        if ok(block) is None:
            raise TransientError(
                f"chain: the node does not know block {last} yet; it is asked again.",
                vendor=VENDOR,
            )
        if not isinstance(logs, list) or not all(
            self.is_mint(log) or self.is_reveal(log) for log in logs
        ):
            raise TransientError("chain: eth_getLogs gave something else", vendor=VENDOR)
        if any(not first <= read_number(log.get("blockNumber")) <= last for log in logs):
            raise TransientError("chain: eth_getLogs gave logs of other blocks", vendor=VENDOR)
        return [log for log in logs if log.get("removed") is not True]  # by a reorg

    def is_reveal(self, log: Any) -> bool:
        """Tell whether any log, of a receipt for example, is a reveal by this contract."""
        return self._is_of(log, REVEALED_TOPIC)

    def is_mint(self, log: Any) -> bool:
        return self._is_of(log, MINTED_TOPIC)

    def _is_of(self, log: Any, topic: str) -> bool:
        topics = log.get("topics") if isinstance(log, dict) else None
        return (
            isinstance(topics, list)
            and len(topics) > 0
            and str(topics[0]).lower() == topic
            and str(log.get("address")).lower() == self.contract_address.lower()
        )

    # -- tokens -------------------------------------------------------------------------

    def tokens(
        self, token_ids: Sequence[int], *, block: int | None = None
    ) -> dict[int, OnChainToken]:
        """Return what the contract says of the tokens, now or at the end of a block.

        At a block before the contract there was none of them.
        """
        at = "latest" if block is None else hex(block)
        functions = "tokenPromptAuthor", "isRevealed", "ownerOf", "tokenURI"
        found = self._batch([self._call(f, word(i), at) for i in token_ids for f in functions])
        if block is not None and found and all(answer == "0x" for answer in found):
            return {i: OnChainToken(i, False, "0x" + "0" * 40, "", False, "") for i in token_ids}
        return {
            token_id: read_token(token_id, *found[4 * index : 4 * index + 4])
            for index, token_id in enumerate(token_ids)
        }

    def revealed(self, token_ids: Sequence[int]) -> list[int]:
        found = self._batch([self._call("isRevealed", word(token_id)) for token_id in token_ids])
        return [i for i, flag in zip(token_ids, found, strict=True) if read_number(ok(flag)) == 1]

    # -- calls --------------------------------------------------------------------------

    def _single(self, call: Call) -> Any:
        self.requests, self.calls = self.requests + 1, self.calls + 1
        return self.rpc.call(call[0], *call[1])

    def _batch(self, calls: Sequence[Call]) -> list[Any]:
        self.requests += -(-len(calls) // CALLS_AT_ONCE)
        self.calls += len(calls)
        return self.rpc.batch(calls)

    def _call(self, function: str, arguments: str = "", at: Any = "latest") -> Call:
        data = SELECTORS[function] + arguments
        return ("eth_call", [{"to": self.contract_address, "data": data}, at])

    def _reveal_call(self, keeper: str, data: str) -> dict[str, str]:
        return {"from": keeper, "to": self.contract_address, "data": data}


def _block_call(block: int | str) -> Call:
    return ("eth_getBlockByNumber", [hex(block) if isinstance(block, int) else block, False])


def _receipt_call(tx_hash: str) -> Call:
    return ("eth_getTransactionReceipt", [tx_hash])


def _fee_calls(percentile: int) -> list[Call]:
    l1_fee = {"to": GAS_PRICE_ORACLE, "data": _L1_FEE_UPPER_BOUND + word(_SAMPLE_BYTES)}
    history: Call = ("eth_feeHistory", [hex(10), "latest", [percentile]])
    return [history, ("eth_call", [l1_fee, "latest"])]


def _read_blocks(numbers: Sequence[int], found: Sequence[Any]) -> dict[int, Block | None]:
    """Return the blocks by number, None for one that is not known; raises `ProviderError`."""
    return {
        number: None if ok(block) is None else read_block(block, number)
        for number, block in zip(numbers, found, strict=True)
    }


def _revert_or_none(answer: Any) -> RevertError | None:
    if isinstance(answer, RevertError):
        return answer
    ok(answer)
    return None


def _hashes(blocks: dict[int, Block | None]) -> dict[int, str | None]:
    return {number: block.block_hash if block else None for number, block in blocks.items()}


def _pinned(result: Any) -> Any:
    """Return a result; a refusal to answer for our block passes by itself.

    The nodes say it in many ways ("header not found", "block not found", "hash is not currently
    canonical", "missing trie node"); nothing else in these calls can be refused for good.
    """
    if isinstance(result, RpcError):
        raise _lost_block(result.said)
    return ok(result)


def _lost_block(why: str) -> TransientError:
    return TransientError(
        f"chain: the node does not stand by the block that it named a moment ago ({why}): it "
        "lags, or there was a reorg. It is asked again.",
        vendor=VENDOR,
        code="lost_block",
    )
