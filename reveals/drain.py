"""The resident drain that takes tokens from ready to revealed.

There is one in all, since one keeper has one sequence of nonces.

    ready → artefacts verified → batch → chain asked → signed and stored → broadcast → receipt
"""

from __future__ import annotations

import time

import structlog
from django.conf import settings
from django.utils import timezone

from glisk.breaker import Breaker
from glisk.clients.chain import ChainClient, RevertError
from glisk.clock import boot_seconds
from glisk.engine.alarms import raise_alarm
from glisk.engine.drain import CallResult, Drain
from glisk.errors import AccountError, ProviderError, TransientError, as_provider_error
from glisk.pauses import Pauses
from reveals import gate, keeper_watch, outbox, reconcile
from reveals.batching import choose_company, decide_departure
from reveals.candidates import (
    Waiting,
    requested_tokens,
    seconds_until_due,
    set_aside,
    waiting_tokens,
)
from reveals.depth import DepthWatch
from reveals.fees import GasPriceTooHighError, choose_fees, configured_ceiling_wei
from reveals.flight import Flights
from reveals.keeper import Keeper
from reveals.preparing import Prepared, prepare_batch
from reveals.reconcile import ask_chain
from reveals.verifying import CONCURRENCY, Verifier
from tokens.models import Token
from tokens.transitions import REVEAL_CHANNEL

logger = structlog.get_logger(__name__)

GAS_PRICE_WAIT_SECONDS = 5.0
# The keeper's balance may be spoken for by what is in flight; asked again every block of Base.
FUNDS_WAIT_SECONDS = 2.0
SHORT_FUNDS_LAST_SECONDS = 20.0  # on the pages, from the last time on
NOTE_KEEPER_SECONDS = 10.0


class RevealDrain(Drain):
    stage = "reveal"
    channels = (REVEAL_CHANNEL,)

    keeper: Keeper
    chain: ChainClient
    flights: Flights
    depth: DepthWatch

    @property
    def threads(self) -> int:
        return CONCURRENCY + int(settings.REVEAL_MAX_IN_FLIGHT) + 2

    def prepare(self) -> None:
        self.keeper = Keeper.from_settings()
        self.chain = ChainClient.from_settings()
        self.chain_breaker = Breaker("chain")
        self.depth = DepthWatch(self)
        self.pauses = Pauses()
        self.flights = Flights(self)
        self.verifier = Verifier(self)
        self._preparing: object | None = None  # names the one preparation under way
        self._reconciling: set[int] = set()  # tokens that the chain called revealed
        self._noted_at = -NOTE_KEEPER_SECONDS
        self._more_wait = False  # ready tokens that were not looked at yet
        self._departs_in: float | None = None
        self._departs_after = 0.0  # monotonic
        self._due_in: float | None = None

    def turn(self, results: list[CallResult]) -> float | None:
        self.flights.take(results)
        self.depth.take(results)
        self.verifier.take([r for r in results if r.kind == "verify"])
        for result in results:
            if result.kind == "prepare":
                self._take_prepared(result)
            elif result.kind == "reconcile":
                self._take_reconciled(result)
        if not self.stopping:
            if self.pauses.is_paused("reveal"):
                self._departs_in = self._due_in = None
            else:
                self._look_for_work()
            self.flights.send_due()
            self.flights.watch()
            self.depth.watch()
        return self._next_turn_seconds()

    def _look_for_work(self) -> None:
        self._departs_in = None
        self._due_in = seconds_until_due()
        # Artefacts are checked ahead, so that a place in flight never waits for a gateway.
        limit = settings.BATCH_REVEAL_MAX_TOKENS * (settings.REVEAL_MAX_IN_FLIGHT + 1)
        requested = requested_tokens(settings.BATCH_REVEAL_MAX_TOKENS)
        first = {entry.candidate.token_id for entry in requested}
        others = waiting_tokens(limit)
        self._more_wait = len(others) == limit
        waiting = requested + [w for w in others if w.candidate.token_id not in first]
        self.verifier.check(waiting)
        if self.flights.room > 0 and self._preparing is None:
            held_for = self._departs_after - time.monotonic()
            if held_for > 0:
                self._departs_in = held_for
            else:
                self._depart(waiting)

    def _may_depart(self, entry: Waiting) -> bool:
        candidate = entry.candidate
        return self.verifier.has_verified(candidate) and candidate.token_id not in self._reconciling

    # -- departure ----------------------------------------------------------------------

    def _depart(self, waiting: list[Waiting]) -> None:
        may_go = [entry for entry in waiting if self._may_depart(entry)]
        requested = [entry for entry in may_go if entry.requested]
        if requested and not self._checks_requested(waiting):
            self._prepare(self._in_company(requested))
            return
        verified = self._in_company([entry for entry in may_go if not entry.requested])
        if not verified:
            return
        others = self.verifier.is_busy or self._more_wait or Token.objects.on_their_way().exists()
        departure = decide_departure(
            [entry.ready_since for entry in verified],
            others_on_their_way=others,
            at=timezone.now(),
            max_tokens=settings.BATCH_REVEAL_MAX_TOKENS,
            wait_seconds=settings.BATCH_REVEAL_WAIT_SECONDS,
            filling_seconds=self.verifier.filling_seconds(verified),
        )
        self._departs_in = departure.wait_seconds
        if departure.now:
            self._prepare(verified[: departure.now])

    def _in_company(self, entries: list[Waiting]) -> list[Waiting]:
        return choose_company(entries, max_tokens=settings.BATCH_REVEAL_MAX_TOKENS)

    def _checks_requested(self, waiting: list[Waiting]) -> bool:
        """Tell whether requested tokens are still being checked: they go together."""
        return any(w.requested and self.verifier.is_checking(w.candidate) for w in waiting)

    def _prepare(self, batch: list[Waiting]) -> None:
        if not self.chain_breaker.places(1):
            return
        candidates = [entry.candidate for entry in batch]
        in_flight = self.flights.unmined()
        self._preparing = object()
        self.note_claim()
        self.submit(
            "prepare",
            (self._preparing, boot_seconds()),
            lambda: prepare_batch(
                self.chain,
                keeper=self.keeper.address,
                candidates=candidates,
                in_flight=in_flight,
            ),
        )

    def _take_prepared(self, result: CallResult) -> None:
        name, asked_at = result.key
        if name is not self._preparing:
            return  # delivered before
        stale = boot_seconds() - asked_at > gate.FACTS_LAST_SECONDS
        if self.stopping or (stale and result.error is None):
            logger.info("preparation_dropped", stale=stale)
            self.chain_breaker.give_probe_back()
        elif result.error is None:
            self._sign(result.value)
            self._note_keeper(result.value)
        elif isinstance(result.error, RevertError):
            # No single token explains it: the contract refuses the keeper or the season.
            problem = f"The reveal would revert: {result.error}. Nothing is sent."
            self.chain_breaker.failed(AccountError(problem, vendor="chain"))
        elif isinstance(result.error, ProviderError):
            if isinstance(result.error, gate.ChainSetupError):
                keeper_watch.note_problem(str(result.error), address=self.keeper.address)
            self.chain_breaker.failed(result.error)
        else:
            logger.error("preparation_failed", exc_info=result.error)
            problem = str(as_provider_error(result.error, vendor="chain"))
            self.chain_breaker.failed(AccountError(problem, vendor="chain"))
        self._preparing = None

    def _sign(self, prepared: Prepared) -> None:
        revealed = [o for o in prepared.refused if o.error_class == "already_revealed"]
        set_aside([o for o in prepared.refused if o not in revealed], actor=self.owner)
        self._reconcile([o.token_id for o in revealed])
        if not prepared.candidates:
            self.chain_breaker.succeeded()
            if prepared.waits_for_funds:
                self._departs_after = time.monotonic() + FUNDS_WAIT_SECONDS
                self._tell_of_short_funds(prepared)
            return
        try:
            fees = choose_fees(prepared.history, ceiling_wei=configured_ceiling_wei())
        except GasPriceTooHighError as error:
            self.chain_breaker.failed(
                TransientError(
                    str(error),
                    vendor="chain",
                    rate_limited=True,
                    retry_after_seconds=GAS_PRICE_WAIT_SECONDS,
                )
            )
            return
        cost_wei = prepared.gas_limit * fees.max_fee_per_gas_wei + prepared.l1_fee_wei
        if prepared.facts.balance_wei < cost_wei:
            self.chain_breaker.failed(_no_funds(self.keeper.address, prepared, cost_wei))
            return
        self.chain_breaker.succeeded()
        row = outbox.store_signed(
            keeper=self.keeper,
            candidates=prepared.candidates,
            data=prepared.data,
            gas_limit=prepared.gas_limit,
            fees=fees,
            transaction_count=prepared.facts.transaction_count,
        )
        if row is not None:
            self.flights.add(row)
        else:
            self.flights.reload()  # perhaps it was stored, and only the commit's answer was lost

    def _tell_of_short_funds(self, prepared: Prepared) -> None:
        """Say what ready tokens wait for while transactions in flight may use up the balance."""
        balance = prepared.facts.balance_wei / 1e18
        raise_alarm(
            "funds",
            stages=("reveal",),
            headline="The keeper's balance is spoken for",
            reason=f"It has {balance:.6f} ETH, and what is in flight may use it up. The next "
            "reveal waits until that is mined.",
            advice="Send ETH to the keeper's address.",
            lasts_seconds=SHORT_FUNDS_LAST_SECONDS,
        )

    def _note_keeper(self, prepared: Prepared) -> None:
        """Keep what was seen of the keeper, now and then; after the signing, which is in haste."""
        now = time.monotonic()
        if prepared.candidates and now - self._noted_at >= NOTE_KEEPER_SECONDS:
            self._noted_at = now
            keeper_watch.note_facts(prepared.facts, prepared.history, address=self.keeper.address)

    # -- revealed already ---------------------------------------------------------------

    def _reconcile(self, token_ids: list[int]) -> None:
        """Find out who revealed these tokens, and with which URI; nobody waits for the answer."""
        if not token_ids:
            return
        doubts = reconcile.doubts_about(token_ids)
        self._reconciling.update(token_ids)
        self.submit("reconcile", tuple(token_ids), lambda: ask_chain(self.chain, doubts))

    def _take_reconciled(self, result: CallResult) -> None:
        if result.error is not None:
            fault = as_provider_error(result.error, vendor="chain")
            logger.warning("reconciliation_failed", error=str(fault))
            waiting = reconcile.unclear(result.key, reason=str(fault))
        else:
            report = reconcile.settle_answers(result.value, actor=self.owner)
            waiting = reconcile.left_waiting(report)
        set_aside(waiting, actor=self.owner)
        self._reconciling.difference_update(result.key)

    def _next_turn_seconds(self) -> float | None:
        if self.stopping:
            return None
        soon = [self.flights.next_turn_seconds(), self._departs_in, self._due_in]
        soon.append(self.depth.next_turn_seconds())
        # A probe that is due already was not wanted now: then the idle tick will do.
        breakers = (self.chain_breaker, self.verifier.breaker)
        soon += [breaker.seconds_until_probe or None for breaker in breakers]
        known = [max(0.02, seconds) for seconds in soon if seconds is not None]
        return min(known, default=None)


def _no_funds(keeper: str, prepared: Prepared, cost_wei: int) -> AccountError:
    balance = prepared.facts.balance_wei / 1e18
    return AccountError(
        f"The keeper {keeper} has {balance:.6f} ETH, and the next reveal may cost "
        f"{cost_wei / 1e18:.6f} ETH. Send it some; reveals go on by themselves.",
        vendor="chain",
        code="no_funds",
    )
