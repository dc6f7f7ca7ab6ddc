"""What a webhook tells of the model chain, and how it gets lost, doubled, mixed up and cut."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokens.models import MintEvent
from tokens.tests.recovery.model_chain import Block, ModelChain, PlacedMint

Receive = Callable[[Sequence[bytes]], None]


@dataclass
class Deliveries:
    """Bodies that wait for their delivery."""

    chain: ModelChain
    dice: random.Random
    receive: Receive
    waiting: list[bytes] = field(default_factory=list)
    _events: int = 0
    _taken_back: dict[bytes, set[str]] = field(default_factory=dict)
    _arrived: set[bytes] = field(default_factory=set)

    def tell(self, block: Block) -> None:
        """Tell of a block's mints, in one of the two forms."""
        mints = [mint for mint in self.chain.mints() if mint.block is block]
        if not mints:
            return
        if self.dice.random() < 0.25:
            logs = self._spoil([self.chain.log(mint) for mint in mints])
            self.waiting.append(self._cut(self._body({"activity": [{"log": log} for log in logs]})))
            return
        logs = self._spoil([self._block_log(mint) for mint in mints])
        facts = {"hash": block.block_hash, "number": block.number, "timestamp": block.timestamp}
        self.waiting.append(self._cut(self._body({"data": {"block": {**facts, "logs": logs}}})))

    def take_back(self, mints: Sequence[PlacedMint], *, surely: bool = False) -> None:
        """Tell that a reorg took these mints, which may be true; `surely`: it arrives, and now."""
        if not mints:
            return
        logs = [{**self.chain.log(mint), "removed": True} for mint in mints]
        body = self._body({"activity": [{"log": log} for log in logs]})
        self._taken_back[body] = {mint.tx_hash for mint in mints}
        if surely:
            self._arrive([body])
        else:
            self.waiting.append(self._cut(body))

    def deliver(self) -> None:
        """Deliver any of what waits: often not the oldest, sometimes again later, or never."""
        dice = self.dice
        if not self.waiting:
            return
        place = dice.randrange(len(self.waiting))
        body = self.waiting[place]
        if dice.random() < 0.75:
            del self.waiting[place]
        if dice.random() >= 0.25:  # else it is lost
            self._arrive([body])

    def _arrive(self, bodies: Sequence[bytes]) -> None:
        """Be received; mints that are told to be gone count as doubtful then, however deep.

        But not for a delivery that comes again: they may have been settled since the first.
        """
        new = [body for body in bodies if body not in self._arrived]
        self._arrived.update(bodies)
        self.receive(bodies)
        told = {tx_hash for body in new for tx_hash in self._taken_back.get(body, ())}
        if told:
            settled = MintEvent.objects.filter(tx_hash__in=told, settled_at__isnull=False)
            assert not settled.exists(), "a mint is told to be gone, and still counts as settled"

    @staticmethod
    def _block_log(mint: PlacedMint) -> dict[str, Any]:
        log = ModelChain.log(mint)
        return {
            "data": log["data"],
            "topics": log["topics"],
            "index": mint.log_index,
            "account": {"address": log["address"]},
            "transaction": {"hash": mint.tx_hash, "status": 1},
        }

    def _spoil(self, logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        dice = self.dice
        if dice.random() < 0.15:
            del logs[dice.randrange(len(logs)) :]
        elif dice.random() < 0.1:
            log = dice.choice(logs)
            del log[dice.choice([name for name in log if name in ("data", "topics", "index")])]
        dice.shuffle(logs)
        return logs

    def _body(self, event: dict[str, Any]) -> bytes:
        self._events += 1
        return json.dumps({"id": f"whevt_{self._events}", "event": event}).encode()

    def _cut(self, body: bytes) -> bytes:
        """Cut a body short now and then: nothing can be read in it then."""
        return body if self.dice.random() >= 0.05 else body[: self.dice.randrange(len(body))]
