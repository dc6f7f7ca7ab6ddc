"""The GliskNFT contract and the facts of the chain that a reveal depends on.

Interface, selectors and error texts: the contract's ABI, compiled with solc 0.8.20.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address

from glisk.clients.rpc import VENDOR, Call, RevertError, RpcClient
from glisk.errors import ProviderError

SELECTORS: Final = {
    "revealTokens": "0x53de7804",
    "isRevealed": "0x5055fbc3",
    "tokenURI": "0xc87b56dd",
    "nextTokenId": "0x75794a3c",
    "tokenPromptAuthor": "0x7c407c92",
    "hasRole": "0x91d14854",
}
KEEPER_ROLE: Final = "fc8737ab85eb45125971625a9ebdb75cc78e01d5c1fa80c4c6e5203f47bc4fab"
ADMIN_ROLE: Final = "00" * 32

# Custom errors of the contract: selector → name. AlreadyRevealed carries the token id.
CUSTOM_ERRORS: Final = {
    "0xa3a57894": "AlreadyRevealed",
    "0xff633a38": "LengthMismatch",
    "0xe2517d3f": "AccessControlUnauthorizedAccount",
    "0x7e273289": "ERC721NonexistentToken",
}


@dataclass(frozen=True)
class Head:
    """The newest block that the node knows."""

    number: int
    block_hash: str
    timestamp: datetime
    base_fee_per_gas_wei: int


@dataclass(frozen=True)
class Setup:
    """What must hold before anything is sent."""

    chain_id: int
    has_code: bool
    is_keeper: bool


@dataclass(frozen=True)
class TokenFacts:
    token_id: int
    exists: bool
    prompt_author: str
    revealed: bool


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
class FeeHistory:
    """Base fee of the next block, and the priority fees paid lately at one percentile, in wei."""

    next_base_fee_per_gas_wei: int
    priority_fees_wei: tuple[int, ...]


@dataclass(frozen=True)
class RevealFacts:
    """Everything that the chain says about a batch, read in one round trip."""

    head: Head
    setup: Setup
    tokens: dict[int, TokenFacts]
    block_hashes: dict[int, str | None]  # of the mints' blocks
    transaction_count: int  # of the keeper, mined
    balance_wei: int


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
        self, *, keeper: str, token_ids: Sequence[int], mint_blocks: Sequence[int]
    ) -> RevealFacts:
        """Read all that the gate and the nonce need, at the newest block, in one round trip.

        Raises `TransientError` if the node does not answer, `ProviderError` if it refuses.
        """
        calls: list[Call] = [
            ("eth_chainId", []),
            ("eth_getCode", [self.contract_address, "latest"]),
            self._call("hasRole", KEEPER_ROLE + _word(int(keeper, 16))),
            self._call("hasRole", ADMIN_ROLE + _word(int(keeper, 16))),
            ("eth_getBlockByNumber", ["latest", False]),
            ("eth_getTransactionCount", [keeper, "latest"]),
            ("eth_getBalance", [keeper, "latest"]),
            self._call("nextTokenId"),
        ]
        fixed = len(calls)
        calls += [self._call("tokenPromptAuthor", _word(token_id)) for token_id in token_ids]
        calls += [self._call("isRevealed", _word(token_id)) for token_id in token_ids]
        calls += [("eth_getBlockByNumber", [hex(number), False]) for number in mint_blocks]
        results = self.rpc.batch(calls)
        chain_id, code = _int(_ok(results[0])), _ok(results[1])
        has_code = isinstance(code, str) and len(code) > len("0x")
        if not has_code:  # every call to it would answer 0x
            head = _head(_ok(results[4]))
            return RevealFacts(head, Setup(chain_id, False, False), {}, {}, 0, 0)
        answers = [_ok(result) for result in results]
        next_token_id = _int(answers[7])
        count = len(token_ids)
        authors, flags = answers[fixed : fixed + count], answers[fixed + count : fixed + 2 * count]
        blocks = answers[fixed + 2 * count :]
        return RevealFacts(
            head=_head(answers[4]),
            setup=Setup(chain_id, True, any([_int(answers[2]), _int(answers[3])])),
            tokens={
                token_id: TokenFacts(
                    token_id=token_id,
                    exists=1 <= token_id < next_token_id,
                    prompt_author=_address(author),
                    revealed=bool(_int(flag)),
                )
                for token_id, author, flag in zip(token_ids, authors, flags, strict=True)
            },
            block_hashes={
                number: block.get("hash") if isinstance(block, dict) else None
                for number, block in zip(mint_blocks, blocks, strict=True)
            },
            transaction_count=_int(answers[5]),
            balance_wei=_int(answers[6]),
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
        return _fee_history(_ok(history)), _int(_ok(gas))

    def fee_history(self, *, percentile: int) -> FeeHistory:
        """Return the fee history of ten blocks."""
        return _fee_history(self.rpc.call("eth_feeHistory", hex(10), "latest", [percentile]))

    def receipts(
        self, *, keeper: str, tx_hashes: Sequence[str]
    ) -> tuple[Head, int, dict[str, Receipt | None]]:
        """Return head, the keeper's mined transaction count, and each hash's receipt or None."""
        answers = self.rpc.batch_all(
            [
                ("eth_getBlockByNumber", ["latest", False]),
                ("eth_getTransactionCount", [keeper, "latest"]),
                *(("eth_getTransactionReceipt", [tx_hash]) for tx_hash in tx_hashes),
            ]
        )
        found = {
            tx_hash: _receipt(answer)
            for tx_hash, answer in zip(tx_hashes, answers[2:], strict=True)
        }
        return _head(answers[0]), _int(answers[1]), found

    def block_hashes(self, numbers: Sequence[int]) -> dict[int, str | None]:
        """Return the hash of each block, None for those that the node does not know."""
        answers = self.rpc.batch_all(
            [("eth_getBlockByNumber", [hex(number), False]) for number in numbers]
        )
        return {
            number: block.get("hash") if isinstance(block, dict) else None
            for number, block in zip(numbers, answers, strict=True)
        }

    def send_raw_transaction(self, raw: bytes) -> None:
        """Hand signed bytes to the node; raise what it says (see reveals.broadcasting)."""
        self.rpc.call("eth_sendRawTransaction", "0x" + raw.hex())

    def _call(self, function: str, arguments: str = "") -> Call:
        data = SELECTORS[function] + arguments
        return ("eth_call", [{"to": self.contract_address, "data": data}, "latest"])


def encode_reveal(token_ids: Sequence[int], uris: Sequence[str]) -> str:
    """Return the call data of `revealTokens(uint256[], string[])`, hex with 0x."""
    arguments = encode(["uint256[]", "string[]"], [list(token_ids), list(uris)])
    return SELECTORS["revealTokens"] + arguments.hex()


def already_revealed_id(error: RevertError) -> int | None:
    """Return the token id of an AlreadyRevealed(uint256) revert, or None for another one."""
    if CUSTOM_ERRORS.get(error.data[:10]) != "AlreadyRevealed":
        return None
    try:
        return int(decode(["uint256"], bytes.fromhex(error.data[10:]))[0])
    except (ValueError, DecodingError):  # not the argument that the contract gives it
        return None


def _word(value: int) -> str:
    return f"{value:064x}"


def _ok(result: Any) -> Any:
    if isinstance(result, ProviderError):
        raise result
    return result


def _int(value: Any) -> int:
    if value == "0x":
        return 0
    try:
        if value.startswith("0x"):
            return int(value, 16)
    except (AttributeError, ValueError):
        pass
    raise _odd("a number", value)


def _odd(wanted: str, got: Any) -> ProviderError:
    return ProviderError(f"chain: expected {wanted}, got {got!r:.100}", vendor=VENDOR)


def _address(word: Any) -> str:
    return str(to_checksum_address("0x" + f"{_int(word):064x}"[-40:]))


def _head(block: Any) -> Head:
    if not isinstance(block, dict):
        raise _odd("the newest block", block)
    return Head(
        number=_int(block.get("number")),
        block_hash=str(block.get("hash")),
        timestamp=datetime.fromtimestamp(_int(block.get("timestamp")), tz=UTC),
        base_fee_per_gas_wei=_int(block.get("baseFeePerGas", "0x0")),
    )


def _fee_history(answer: Any) -> FeeHistory:
    try:
        base_fees, rewards = answer["baseFeePerGas"], answer.get("reward") or []
        return FeeHistory(
            next_base_fee_per_gas_wei=_int(base_fees[-1]),
            priority_fees_wei=tuple(_int(block[0]) for block in rewards),
        )
    except (AttributeError, IndexError, KeyError, TypeError):
        raise _odd("a fee history", answer) from None


def _receipt(answer: Any) -> Receipt | None:
    if not isinstance(answer, dict) or answer.get("blockNumber") is None:
        return None
    l1_fee = answer.get("l1Fee")
    try:
        return Receipt(
            tx_hash=str(answer["transactionHash"]),
            succeeded=_int(answer["status"]) == 1,
            block_number=_int(answer["blockNumber"]),
            block_hash=str(answer["blockHash"]),
            gas_used=_int(answer["gasUsed"]),
            effective_gas_price_wei=_int(answer.get("effectiveGasPrice", "0x0")),
            l1_fee_wei=_int(l1_fee) if l1_fee is not None else None,
        )
    except KeyError as missing:
        raise _odd(f"a receipt with {missing}", answer) from None
