"""Wait until tokens are revealed; where no worker lives, do the worker's part in this process.

That part is the worker's own drain, under the same slot: nothing here signs, stores or sends. So a
kill between any two lines leaves what a killed worker leaves, and whoever comes next goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from glisk.breaker import BreakerState
from glisk.engine.drain import run_drain
from glisk.engine.heartbeat import stages_alive
from glisk.engine.process import Flag
from glisk.engine.step import CallResult
from glisk.models import SystemState
from glisk.pauses import list_pauses
from reveals.by_hand import refusal_of
from reveals.models import RevealBatch, RevealBatchToken, RevealTransaction
from reveals.outbox import with_transactions
from reveals.tasks import RevealDrain
from tokens.models import Token
from tokens.states import TokenStatus

LOOK_SECONDS = 0.5
_BREAKERS = ("breaker:gateway", "breaker:chain")
_SIGNER = "breaker:signer"
_CHECKED, _SIGNED, _MINED = "it is being checked", "it is not signed yet", "it is not mined yet"
HERE = "No living worker reveals: this command does it now, under the worker's slot."

NOBODY = (
    "No living worker reveals, and this process has no keeper's key. The request stays: start a "
    "worker with ENABLE_REVEAL_WORKER=true, or run this command where the key is."
)


@dataclass(frozen=True)
class Progress:
    """How far a token's reveal is.

    `reason`: why it is not revealed; empty: it is. `waits`: that may pass while one waits.
    `tx_hash`: the transaction that revealed it, or that is on its way.
    """

    token_id: int
    tx_hash: str = ""
    block_number: int | None = None
    reason: str = ""
    waits: bool = False

    @property
    def revealed(self) -> bool:
        return not self.reason


def look(token_ids: Iterable[int]) -> list[Progress]:
    """Return the progress of these tokens, by id; six statements, however many they are."""
    tokens = Token.objects.filter(pk__in=list(token_ids)).order_by("pk")
    open_items = RevealBatchToken.objects.filter(token__in=tokens, is_open=True)
    places = dict(open_items.values_list("token_id", "batch_id"))
    batches = with_transactions(RevealBatch.objects.filter(pk__in=places.values()))
    signed = {batch.pk: batch.signed for batch in batches}
    hashes = [token.reveal_tx_hash for token in tokens if token.reveal_tx_hash]
    mined = RevealTransaction.objects.filter(tx_hash__in=hashes)
    blocks = dict(mined.values_list("tx_hash", "block_number"))
    faults = _open_breakers()
    hindrance, lasts = _hindrance(faults)
    found = []
    for token in tokens:
        if token.status == TokenStatus.REVEALED:
            tx_hash = token.reveal_tx_hash or ""
            found.append(Progress(token.pk, tx_hash, blocks.get(tx_hash)))
        elif token.pk in places:
            sent = signed.get(places[token.pk])
            tx_hash = sent[-1].tx_hash if sent else ""
            reason = _MINED if sent else faults.get(_SIGNER, _SIGNED)
            found.append(Progress(token.pk, tx_hash, reason=reason, waits=True))
        elif refusal := refusal_of(token):
            found.append(Progress(token.pk, reason=refusal))
        else:
            reason = hindrance or token.generation_error or _CHECKED
            found.append(Progress(token.pk, reason=reason, waits=not lasts))
    return found


def _open_breakers() -> dict[str, str]:
    """Return the reasons by the names of the rows."""
    rows = SystemState.objects.filter(pk__in=(*_BREAKERS, _SIGNER))
    states = {row.pk: BreakerState.parse(row.state_value) for row in rows}
    return {pk: s.reason for pk, s in states.items() if s.state == "open" and s.reason}


def _hindrance(faults: Mapping[str, str]) -> tuple[str, bool]:
    """Return what keeps every token from a transaction, and whether a person has to end it."""
    paused = next((pause for pause in list_pauses() if pause.stage == "reveal"), None)
    if paused:
        return f"Reveals are paused by {paused.actor} ({paused.reason})", True
    return next((faults[pk] for pk in (*_BREAKERS, _SIGNER) if pk in faults), ""), False


class RevealHere(RevealDrain):
    """The reveal drain, for the wanted tokens alone (and what operators requested before).

    What is open already is finished as well, whosever it is: nonces have an order.
    """

    def __init__(
        self, token_ids: Collection[int], is_over: Callable[[], bool], tell: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.wanted, self.is_over, self.tell = frozenset(token_ids), is_over, tell

    def prepare(self) -> None:
        super().prepare()
        self.tell(HERE)

    def survey(self) -> None:
        super().survey()
        ready = self.shared.ready
        chosen = [c for c in ready.waiting if c.requested or c.token_id in self.wanted]
        self.shared.ready = replace(ready, waiting=chosen)

    def turn(self, results: list[CallResult]) -> float | None:
        tick = super().turn(results)
        if not self.stopping:
            self.is_over()
        return LOOK_SECONDS if tick is None else min(tick, LOOK_SECONDS)


def wait_until_revealed(
    token_ids: Collection[int],
    *,
    timeout_seconds: float,
    can_sign: bool,
    stop: Flag,
    tell: Callable[[str], None],
) -> list[Progress]:
    """Wait until no token waits any more, `stop` is set or the time is up; return their progress.

    While no worker reveals, and `can_sign` (this process has the keeper's key), the worker's drain
    runs here; without the key nobody is waited for. `tell` gets each transaction's hash as soon as
    it is known, and each new reason to wait.
    """
    ends = time.monotonic() + timeout_seconds
    told: set[str] = set()

    def is_over() -> bool:
        progress = look(token_ids)
        for line in _news(progress, told):
            tell(line)
        if time.monotonic() >= ends or not any(each.waits for each in progress):
            stop.set()
        return stop.is_set()

    while not is_over():
        if "reveal" not in stages_alive():
            if not can_sign:
                tell(NOBODY)
                break
            # Returns at once where somebody has the slot. Without a budget: it needs no successor.
            run_drain(lambda: RevealHere(token_ids, is_over, tell), stop, budget_seconds=math.inf)
        stop.wait(LOOK_SECONDS)
    return look(token_ids)


def _news(progress: Iterable[Progress], told: set[str]) -> Iterable[str]:
    """Yield each transaction and each unusual reason to wait once."""
    for each in progress:
        unusual = each.waits and each.reason not in (_CHECKED, _SIGNED, _MINED)
        lines = [f"waiting: {each.reason}"] if unusual else []
        lines += [f"transaction {each.tx_hash}"] if each.tx_hash else []
        for line in lines:
            if line not in told:
                told.add(line)
                yield line
