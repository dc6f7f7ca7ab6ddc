"""A node of the model chain: it speaks JSON-RPC as real ones do, and misbehaves as they do."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from authors.tests.factories import wallet
from glisk.clients.chain import (
    REVEALED_TOPIC,
    SELECTORS,
    Call,
    ChainClient,
    RevertError,
    RpcClient,
    RpcError,
)
from glisk.errors import ProviderError, TransientError
from tokens.tests.recovery.model_chain import (
    CONTRACT,
    Block,
    ModelChain,
    PlacedMint,
    Transaction,
    topic,
)

_OWNER_OF = "0x6352211e"
_NOBODY = wallet(0)


@dataclass
class ModelNode:
    """One node of the chain, in place of an `RpcClient`.

    `lag`: it is so many blocks behind. `hides_logs`: it answers no log and no receipt. `drops`:
    the share of batch members that never come. `range_blocks`: it gives so many blocks at once.
    `stamps_logs`: its logs tell the time of their block, which older nodes leave out.
    """

    chain: ModelChain
    lag: int = 0
    hides_logs: bool = False
    drops: float = 0.0
    down: bool = False
    range_blocks: int | None = None
    stamps_logs: bool = True
    dice: random.Random = field(default_factory=random.Random)
    requests: int = 0

    def reader(self) -> ChainClient:
        return ChainClient(
            cast(RpcClient, self),
            contract_address=CONTRACT,
            chain_id=31337,
        )

    def call(self, method: str, *params: Any) -> Any:
        result = self.batch([(method, list(params))])[0]
        if isinstance(result, ProviderError):
            raise result
        return result

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        self.requests += 1
        if self.down:
            raise TransientError("the node is down", vendor="chain")
        head = max(0, self.chain.head.number - self.lag)
        answers: list[Any] = []
        for method, params in calls:
            if self.drops and self.dice.random() < self.drops:
                answers.append(TransientError("missing in the answer", vendor="chain"))
                continue
            try:
                answers.append(self._answer(head, method, params))
            except ProviderError as error:
                answers.append(error)
        return answers

    def _answer(self, head: int, method: str, params: list[Any]) -> Any:
        match method:
            case "eth_chainId":
                return hex(31337)
            case "eth_getBlockByNumber":
                return self._block(head, params[0])
            case "eth_getLogs":
                return self._logs(head, params[0])
            case "eth_getTransactionReceipt":
                return self._receipt(head, params[0])
            case "eth_call":
                return self._contract(head, params[0]["data"], params[1])
        raise AssertionError(method)

    def _block(self, head: int, tag: str) -> dict[str, str] | None:
        number = head if tag == "latest" else int(tag, 16)
        if number > head:
            return None
        block = self.chain.blocks[number]
        return {
            "number": hex(number),
            "hash": block.block_hash,
            "timestamp": hex(block.timestamp),
        }

    def _logs(self, head: int, options: dict[str, Any]) -> list[dict[str, Any]]:
        first, last = int(options["fromBlock"], 16), int(options["toBlock"], 16)
        if self.range_blocks is not None and last - first + 1 > self.range_blocks:
            raise RpcError(-32602, f"query exceeds max block range {self.range_blocks}", "getLogs")
        if self.hides_logs:
            return []
        found = [
            self._log(placed)
            for placed in self.chain.mints(head)
            if first <= placed.block.number <= last
        ]
        for block in self.chain.blocks[first : min(head, last) + 1]:
            found += [
                self._reveal_log(block, transaction)
                for transaction in block.transactions
                if transaction.revealed
            ]
        return found

    def _log(self, placed: PlacedMint) -> dict[str, Any]:
        log = self.chain.log(placed)
        if not self.stamps_logs:
            del log["blockTimestamp"]
        return log

    def _reveal_log(self, block: Block, transaction: Transaction) -> dict[str, Any]:
        words = [32, len(transaction.revealed), *transaction.revealed]
        return {
            "address": CONTRACT.lower(),
            "topics": [REVEALED_TOPIC],
            "data": "0x" + "".join(f"{word:064x}" for word in words),
            "blockNumber": hex(block.number),
            "blockHash": block.block_hash,
            "blockTimestamp": hex(block.timestamp),
            "transactionHash": transaction.tx_hash,
            "logIndex": hex(900),
            "removed": False,
        }

    def _receipt(self, head: int, tx_hash: str) -> dict[str, Any] | None:
        logs = [self._log(placed) for placed in self.chain.mints(head) if placed.tx_hash == tx_hash]
        if not logs or self.hides_logs:
            return None
        return {
            "transactionHash": tx_hash,
            "blockHash": logs[0]["blockHash"],
            "blockNumber": logs[0]["blockNumber"],
            "status": "0x1",
            "gasUsed": "0x5208",
            "logs": logs,
        }

    def _contract(self, head: int, data: str, tag: str) -> str:
        block = head if tag == "latest" else int(tag, 16)
        if block > head:
            raise RpcError(-32000, "header not found", "eth_call")
        mints = self.chain.mints(block)
        if data == SELECTORS["nextTokenId"]:
            return f"0x{(mints[-1].token_ids[-1] + 1 if mints else 1):064x}"
        selector, token_id = data[:10], int(data[10:], 16)
        mint = next((placed.mint for placed in mints if token_id in placed.token_ids), None)
        answers: dict[str, Callable[[], str]] = {
            SELECTORS["tokenPromptAuthor"]: lambda: topic(mint.author if mint else _NOBODY),
            SELECTORS["isRevealed"]: lambda: f"0x{token_id in self.chain.revealed(block):064x}",
            _OWNER_OF: lambda: topic(mint.minter) if mint else _reverts(),
            SELECTORS["tokenURI"]: lambda: _uri(token_id) if mint else _reverts(),
        }
        return answers[selector]()


def _reverts() -> str:
    raise RevertError("nonexistent", data="0x7e273289")


def _uri(token_id: int) -> str:
    text = f"ipfs://QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPb{token_id % 100:02d}".encode()
    return "0x" + f"{32:064x}{len(text):064x}" + text.hex().ljust(128, "0")
