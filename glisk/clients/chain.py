"""The facts of the chain that a reveal depends on, and the sending of what was signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from glisk.clients.chain_answers import Head, block_hash, head, number, odd, ok
from glisk.clients.contract import (
    ADMIN_ROLE,
    CUSTOM_ERRORS,
    KEEPER_ROLE,
    SELECTORS,
    already_revealed_id,
    encode_reveal,
    word,
)
from glisk.clients.reveal_facts import RevealFacts, Setup, TokenFacts, read_reveal_facts
from glisk.clients.rpc import Call, RevertError, RpcClient

__all__ = [
    "ADMIN_ROLE",
    "CUSTOM_ERRORS",
    "KEEPER_ROLE",
    "SELECTORS",
    "ChainClient",
    "FeeHistory",
    "Head",
    "MinedTransactions",
    "Receipt",
    "RevealFacts",
    "Setup",
    "TokenFacts",
    "already_revealed_id",
    "encode_reveal",
]


# Where Base tells what Ethereum charges for a transaction's data; other chains have no code there.
# https://specs.optimism.io/protocol/predeploys.html#gaspriceoracle
GAS_PRICE_ORACLE: Final = "0x420000000000000000000000000000000000000F"
_L1_FEE_UPPER_BOUND: Final = "0xf1c7a58b"  # getL1FeeUpperBound(uint256 bytes), since Fjord
_L1_FEE: Final = "0x49948e0e"  # getL1Fee(bytes)
# The fee is asked for so many bytes, a large reveal: it grows with them.
_SAMPLE_BYTES: Final = 10_000


@dataclass(frozen=True)
class Receipt:
    tx_hash: str
    succeeded: bool
    block_number: int
    block_hash: str
    gas_used: int
    effective_gas_price_wei: int
    l1_fee_wei: int | None  # Base charges it on top; a plain node has none


@dataclass(frozen=True)
class MinedTransactions:
    """What a chain has mined of one keeper's transactions; no receipt: None."""

    chain_id: int
    head: Head
    transaction_count: int
    receipts: dict[str, Receipt | None]


@dataclass(frozen=True)
class FeeHistory:
    """Base fee of the next block, and the priority fees paid lately at one percentile, in wei.

    `l1_fee_per_byte_wei`: what each byte of a transaction costs on top, whatever gas it offers.
    """

    next_base_fee_per_gas_wei: int
    priority_fees_wei: tuple[int, ...]
    l1_fee_per_byte_wei: int = 0


class ChainClient:
    """Reads the contract and sends what was signed elsewhere; knows no private key."""

    def __init__(self, rpc: RpcClient, *, contract_address: str) -> None:
        self.rpc = rpc
        self.contract_address = contract_address

    @classmethod
    def from_settings(cls) -> Self:
        from django.conf import settings

        return cls(RpcClient.from_settings(), contract_address=settings.GLISK_NFT_CONTRACT_ADDRESS)

    def reveal_facts(
        self,
        *,
        keeper: str,
        token_ids: Sequence[int],
        mint_blocks: Sequence[int],
        confirmations: int = 1,
    ) -> RevealFacts:
        """Read all that the gate and the nonce need, as of one block (see `reveal_facts`)."""
        return read_reveal_facts(
            self.rpc,
            contract=self.contract_address,
            keeper=keeper,
            token_ids=token_ids,
            mint_blocks=mint_blocks,
            confirmations=confirmations,
        )

    def fees_and_gas(self, *, keeper: str, data: str, percentile: int) -> tuple[FeeHistory, int]:
        """Return the fees of the last ten blocks, and the gas that the call would use.

        Raises `RevertError` if the call would revert.
        """
        transaction = {"from": keeper, "to": self.contract_address, "data": data}
        history, l1_fee, gas = self.rpc.batch(
            [*_fee_calls(percentile), ("eth_estimateGas", [transaction])]
        )
        return self._fee_history(history, l1_fee), number(ok(gas))

    def fee_history(self, *, percentile: int) -> FeeHistory:
        """Return the fees of the last ten blocks."""
        return self._fee_history(*self.rpc.batch(_fee_calls(percentile)))

    def _fee_history(self, history: Any, l1_fee: Any) -> FeeHistory:
        if isinstance(l1_fee, RevertError):  # an oracle from before Fjord
            sample = word(32) + word(_SAMPLE_BYTES) + "ff" * _SAMPLE_BYTES
            (l1_fee,) = self.rpc.batch([_oracle_call(_L1_FEE + sample)])
        l1_fee_wei = 0 if isinstance(l1_fee, RevertError) else number(ok(l1_fee))
        return _read_fee_history(ok(history), l1_fee_per_byte_wei=-(-l1_fee_wei // _SAMPLE_BYTES))

    def receipts(self, *, keeper: str, tx_hashes: Sequence[str]) -> MinedTransactions:
        """Return chain, head, the keeper's mined transaction count, and each hash's receipt."""
        answers = self.rpc.batch_all(
            [
                ("eth_chainId", []),
                ("eth_getBlockByNumber", ["latest", False]),
                ("eth_getTransactionCount", [keeper, "latest"]),
                *(("eth_getTransactionReceipt", [tx_hash]) for tx_hash in tx_hashes),
            ]
        )
        found = {
            tx_hash: _receipt(answer)
            for tx_hash, answer in zip(tx_hashes, answers[3:], strict=True)
        }
        return MinedTransactions(number(answers[0]), head(answers[1]), number(answers[2]), found)

    def receipts_of(self, tx_hashes: Sequence[str]) -> dict[str, Receipt | None]:
        """Return each hash's receipt or None."""
        answers = self.rpc.batch_all([("eth_getTransactionReceipt", [h]) for h in tx_hashes])
        return {h: _receipt(answer) for h, answer in zip(tx_hashes, answers, strict=True)}

    def block_hashes(self, numbers: Sequence[int]) -> dict[int, str | None]:
        """Return the hash of each block, None for those that the node does not know."""
        answers = self.rpc.batch_all(
            [("eth_getBlockByNumber", [hex(number), False]) for number in numbers]
        )
        return {number: block_hash(block) for number, block in zip(numbers, answers, strict=True)}

    def send_raw_transaction(self, raw: bytes) -> None:
        """Hand signed bytes to the node; raise what it says (see reveals.broadcasting)."""
        self.rpc.call("eth_sendRawTransaction", "0x" + raw.hex())


def _fee_calls(percentile: int) -> list[Call]:
    return [
        ("eth_feeHistory", [hex(10), "latest", [percentile]]),
        _oracle_call(_L1_FEE_UPPER_BOUND + word(_SAMPLE_BYTES)),
    ]


def _oracle_call(data: str) -> Call:
    return ("eth_call", [{"to": GAS_PRICE_ORACLE, "data": data}, "latest"])


def _read_fee_history(answer: Any, *, l1_fee_per_byte_wei: int) -> FeeHistory:
    try:
        base_fees, rewards = answer["baseFeePerGas"], answer.get("reward") or []
        return FeeHistory(
            next_base_fee_per_gas_wei=number(base_fees[-1]),
            priority_fees_wei=tuple(number(block[0]) for block in rewards),
            l1_fee_per_byte_wei=l1_fee_per_byte_wei,
        )
    except (AttributeError, IndexError, KeyError, TypeError):
        raise odd("a fee history", answer) from None


def _receipt(answer: Any) -> Receipt | None:
    if not isinstance(answer, dict) or answer.get("blockNumber") is None:
        return None
    l1_fee = answer.get("l1Fee")
    try:
        return Receipt(
            tx_hash=str(answer["transactionHash"]),
            succeeded=number(answer["status"]) == 1,
            block_number=number(answer["blockNumber"]),
            block_hash=str(answer["blockHash"]),
            gas_used=number(answer["gasUsed"]),
            effective_gas_price_wei=number(answer.get("effectiveGasPrice", "0x0")),
            l1_fee_wei=number(l1_fee) if l1_fee is not None else None,
        )
    except KeyError as missing:
        raise odd(f"a receipt with {missing}", answer) from None
