"""What the steps of the reveal share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from glisk.clients.chain import ChainClient
from glisk.engine.step import Step
from reveals.gate import ReadyTokens, read_ready_tokens
from reveals.keeper import Keeper
from reveals.models import RevealBatch
from reveals.outbox import open_batches

W = TypeVar("W")
D = TypeVar("D")


class Shared:
    """The keeper, the chain, and what was read of the database in this turn."""

    def __init__(self) -> None:
        self.keeper = Keeper.from_settings()
        self.chain = ChainClient.from_settings()
        self.open: Sequence[RevealBatch] = ()  # in nonce order
        self.ready = ReadyTokens()

    def read(self, *, paused: bool = False) -> None:
        self.open = open_batches()
        self.ready = ReadyTokens() if paused else read_ready_tokens()

    @property
    def ours(self) -> list[RevealBatch]:
        """The open batches of today's keeper."""
        return [batch for batch in self.open if batch.keeper == self.keeper.address]


class RevealStep(Step[W, D]):
    """A step without leases: one drain in all holds the reveal slot."""

    most = 1

    def __init__(self, owner: str, shared: Shared) -> None:
        super().__init__(owner)
        self.shared, self.keeper, self.chain = shared, shared.keeper, shared.chain
