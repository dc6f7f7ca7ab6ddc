"""The facts of the chain that a reveal depends on, and the sending of what was signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from glisk.clients.chain_answers import Head, block_hash, head, number, odd, ok
from glisk.clients.contract import (
    ADMIN_ROLE,
    CUSTOM_ERRORS,
    KEEPER_ROLE,
    SELECTORS,
    already_revealed_id,
    encode_reveal,
)
from glisk.clients.reveal_facts import RevealFacts, Setup, TokenFacts, read_reveal_facts
from glisk.clients.rpc import RpcClient

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
    """Base fee of the next block, and the priority fees paid lately at one percentile, in wei."""

    next_base_fee_per_gas_wei: int
    priority_fees_wei: tuple[int, ...]


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
        """Return the fee history of ten blocks, and the gas that the call would use.

        Raises `RevertError` if the call would revert.
        """
        transaction = {"from": keeper, "to": self.contract_address, "data": data}
        history, gas = self.rpc.batch(
            [
                ("eth_feeHistory", [hex(10), "latest", [percentile]]),
                ("eth_estimateGas", [transaction]),
            ]
        )
        return _fee_history(ok(history)), number(ok(gas))

    def fee_history(self, *, percentile: int) -> FeeHistory:
        """Return the fee history of ten blocks."""
        return _fee_history(self.rpc.call("eth_feeHistory", hex(10), "latest", [percentile]))

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


def _fee_history(answer: Any) -> FeeHistory:
    try:
        base_fees, rewards = answer["baseFeePerGas"], answer.get("reward") or []
        return FeeHistory(
            next_base_fee_per_gas_wei=number(base_fees[-1]),
            priority_fees_wei=tuple(number(block[0]) for block in rewards),
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
