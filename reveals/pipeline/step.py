"""What the steps of the reveal share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from glisk.clients.chain import ChainClient
from glisk.engine.step import Step
from reveals.candidates import ReadyTokens
from reveals.keeper import Keeper
from reveals.outbox import OpenBatches

W = TypeVar("W")
D = TypeVar("D")


@dataclass(frozen=True)
class Shared:
    """The keeper, the chain, and what was read of the database in this turn."""

    keeper: Keeper = field(default_factory=Keeper.from_settings)
    chain: ChainClient = field(default_factory=ChainClient.from_settings)
    ready: ReadyTokens = field(default_factory=ReadyTokens)
    open: OpenBatches = field(default_factory=OpenBatches)


class RevealStep(Step[W, D]):
    """A step without leases: one drain in all holds the reveal slot."""

    most = 1

    def __init__(self, owner: str, shared: Shared) -> None:
        super().__init__(owner)
        self.keeper, self.chain = shared.keeper, shared.chain
        self.ready, self.open = shared.ready, shared.open
