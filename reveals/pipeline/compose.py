"""Compose: verified tokens become a batch, checked against the chain as it is now.

    claims   verified tokens, when they may depart
    calls    the chain's facts of one block; simulation, fees and gas
    settles  a batch with its nonce, to be signed; poison and what others revealed are set aside

A batch goes at once if nothing else is on its way, else after a bounded wait. Tokens whose
transactions were mined without effect, while every simulation was good, go in ever smaller batches:
so the one that is to blame gets to be alone, and the others are revealed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.utils import timezone

from glisk.breaker import Breaker
from glisk.clients.chain import (
    VENDOR,
    ChainClient,
    FeeHistory,
    RevealFacts,
    RevertError,
    RpcError,
    already_revealed_id,
    encode_reveal,
    revert_reason,
)
from glisk.clock import database_now
from glisk.engine.heartbeat import raise_alarm
from glisk.engine.step import Done, Failed
from glisk.errors import (
    AccountError,
    ProviderError,
    TransientError,
    as_provider_error,
    backoff_seconds,
)
from glisk.timing import timing
from reveals import gate, outbox, reconcile
from reveals.gate import WOULD_REVERT, Candidate, Waiting, set_aside
from reveals.keeper import (
    MAX_TRANSACTION_GAS,
    PERCENTILES,
    Fees,
    GasPriceTooHighError,
    choose_fees,
    configured_ceiling_wei,
    gas_limit,
    is_above_cap,
    note_facts,
    note_problem,
)
from reveals.models import RevealBatch, RevealTransaction
from reveals.outbox import RevealStep, Shared, Unsigned
from reveals.pipeline.verify import Verify
from reveals.reconcile import Answer, Question
from tokens.models import Token
from tokens.transitions.claims import Refusal

logger = structlog.get_logger(__name__)

SHORT_FUNDS_LAST_SECONDS = 20.0  # on the pages, from the last time on
# One revert may be chance: the same tokens may try once more together.
_REVERTS_TO_PART = 2
# A token whose reveal would revert, and nobody can say why, is set aside for good after so many
# looks; nothing was sent for it.
MAX_WOULD_REVERT = 10
WOULD_REVERT_WAIT_SECONDS = 5.0
# What a signed transaction holds beside its call data: nonce, fees, addresses, signature.
_ENVELOPE_BYTES = 128

InFlight = Mapping[int, Unsigned | RevealTransaction]  # by nonce: what may be mined before


@dataclass(frozen=True)
class Composition:
    """Tokens that may depart, what the database knows of them, and when the chain is asked."""

    candidates: list[Candidate]
    questions: list[Question]
    in_flight: InFlight
    asked_at: datetime


@dataclass(frozen=True)
class Composed:
    """What the chain says; `answers` to the tokens that it calls revealed, or `fault`: none."""

    prepared: Prepared
    answers: list[Answer] = field(default_factory=list)
    fault: str = ""


class Compose(RevealStep[Composition, Composed]):
    def __init__(self, owner: str, shared: Shared, verify: Verify) -> None:
        super().__init__(owner, shared)
        self.verify = verify
        self.breaker = Breaker("chain")

    @property
    def breakers(self) -> Sequence[Breaker]:
        return (self.breaker,)

    def places(self) -> int:
        return min(super().places(), settings.REVEAL_MAX_IN_FLIGHT - len(self.shared.ours))

    def due_in(self) -> float | None:
        departure = self._departure() if self.places() > 0 else Departure([])
        # A probe that is due already was not wanted now: then the idle tick will do.
        waits = (departure.wait_seconds, self.breaker.seconds_until_probe or None)
        return min((wait for wait in waits if wait is not None), default=None)

    def claim(self, limit: int) -> Sequence[Composition]:
        chosen = [entry.candidate for entry in self._departure().now]
        if not chosen or not self.breaker.places(1):
            return ()
        return [
            Composition(
                candidates=chosen,
                questions=reconcile.questions_of({c.token_id: c.metadata_uri for c in chosen}),
                in_flight={batch.nonce: _newest(batch) for batch in self.shared.ours},
                asked_at=database_now(),
            )
        ]

    def _departure(self) -> Departure:
        """Decide who goes now, or when to look again."""
        most = settings.BATCH_REVEAL_MAX_TOKENS
        ready, checking = self.shared.ready, self.verify.checking
        verified = [entry for entry in ready.waiting if entry.verified_at is not None]
        requested = [entry for entry in verified if entry.requested]
        checked = [e for e in ready.waiting if e.candidate.token_id in checking]
        if requested and not any(entry.requested for entry in checked):
            return Departure(choose_company(requested, max_tokens=most))
        company = choose_company([e for e in verified if not e.requested], max_tokens=most)
        if not company:
            return Departure([])
        others = checking or ready.more_wait or Token.objects.on_their_way().exists()
        first = min(entry.verified_at for entry in company if entry.verified_at)
        filling = first + timedelta(seconds=timing.filling) - database_now()
        return decide_departure(
            company,
            others_on_their_way=bool(others),
            at=timezone.now(),
            max_tokens=most,
            wait_seconds=settings.BATCH_REVEAL_WAIT_SECONDS,
            filling_seconds=filling.total_seconds() if checking else 0.0,
        )

    def call(self, work: Composition) -> Composed:
        prepared = prepare_batch(
            self.chain,
            keeper=self.keeper.address,
            candidates=work.candidates,
            in_flight=work.in_flight,
        )
        revealed = [q for q in work.questions if q.token_id in prepared.revealed]
        if not revealed:
            return Composed(prepared)
        try:
            return Composed(prepared, reconcile.ask_chain(self.chain, revealed))
        except ProviderError as error:
            return Composed(prepared, fault=str(error))

    def settle(
        self,
        done: Sequence[Done[Composition, Composed]],
        failed: Sequence[Failed[Composition]],
    ) -> None:
        for lost in failed:
            self.breaker.failed(self._problem(lost.error))
        for each in done:
            age = (database_now() - each.work.asked_at).total_seconds()
            if age > timing.facts_last:
                logger.info("preparation_dropped", stale=True)
                continue
            self._set_aside(each.value)
            self._reserve(each.work, each.value.prepared)

    def _problem(self, error: Exception) -> ProviderError:
        """Return what keeps every reveal waiting."""
        if isinstance(error, RevertError):
            # No single token explains it: the contract refuses the keeper or the season.
            text = f"The reveal would revert: {error}. Nothing is sent."
            return AccountError(text, vendor=VENDOR)
        if isinstance(error, gate.ChainSetupError):
            note_problem(str(error), address=self.keeper.address)
        if isinstance(error, ProviderError):
            return error
        logger.error("preparation_failed", exc_info=error)
        return AccountError(str(as_provider_error(error, vendor=VENDOR)), vendor=VENDOR)

    def _set_aside(self, composed: Composed) -> None:
        """Let go of the tokens that may not be revealed; follow the chain where it was faster."""
        revealed = composed.prepared.revealed
        refused = [r for r in composed.prepared.refused if r.token_id not in revealed]
        if composed.fault:
            logger.warning("reconciliation_failed", error=composed.fault)
            refused += reconcile.unclear(revealed, reason=composed.fault)
        elif composed.answers:
            report = reconcile.settle_answers(composed.answers, actor=self.owner)
            contradiction = "the node says at once that it is revealed and that it is not"
            refused += reconcile.unclear(report.unrevealed, reason=contradiction)
            left = "it carries our URI, and could not be adopted"
            refused += reconcile.unclear(report.unsettled, reason=left)
        set_aside(refused, actor=self.owner)

    def _reserve(self, work: Composition, prepared: Prepared) -> None:
        """Give the batch a nonce and what is to be signed, unless the keeper cannot pay for it."""
        balance = f"{prepared.facts.balance_wei / 1e18:.6f} ETH"
        if not prepared.candidates:
            self.breaker.succeeded()
            if prepared.waits_for_funds:
                self.pause(timing.funds_wait)
                raise_alarm(
                    "funds",
                    stages=("reveal",),
                    headline="The keeper's balance is spoken for",
                    reason=f"It has {balance}, and what is in flight may use it up. The next "
                    "reveal waits until that is mined.",
                    advice="Send ETH to the keeper's address.",
                    lasts_seconds=SHORT_FUNDS_LAST_SECONDS,
                )
            return
        try:
            fees = choose_fees(prepared.history, ceiling_wei=configured_ceiling_wei())
        except GasPriceTooHighError as error:
            self.breaker.failed(
                TransientError(
                    str(error),
                    vendor=VENDOR,
                    rate_limited=True,
                    retry_after_seconds=timing.gas_price_wait,
                )
            )
            return
        cost_wei = prepared.cost_wei(fees)
        if prepared.facts.balance_wei < cost_wei:
            self.breaker.failed(
                AccountError(
                    f"The keeper {self.keeper.address} has {balance}, and the next reveal may cost "
                    f"{cost_wei / 1e18:.6f} ETH. Send it some; reveals go on by themselves.",
                    vendor=VENDOR,
                    code="no_funds",
                )
            )
            return
        self.breaker.succeeded()
        outbox.reserve_batch(
            keeper=self.keeper.address,
            candidates=prepared.candidates,
            gas_limit=prepared.gas_limit,
            fees=fees,
            transaction_count=prepared.facts.transaction_count,
            reviewed_at=work.asked_at,
        )
        note_facts(
            prepared.facts, prepared.history, address=self.keeper.address, unless_younger=True
        )


def _newest(batch: RevealBatch) -> Unsigned | RevealTransaction:
    return batch.newest if batch.to_sign is None else Unsigned(**batch.to_sign)


# -- who goes, and when ---------------------------------------------------------------------


@dataclass(frozen=True)
class Departure:
    """`now`: who goes; else after how many seconds to look again."""

    now: Sequence[Waiting]
    wait_seconds: float | None = None


def decide_departure(
    verified: Sequence[Waiting],
    *,
    others_on_their_way: bool,
    at: datetime,
    max_tokens: int,
    wait_seconds: float,
    filling_seconds: float = 0.0,
) -> Departure:
    """Decide for verified tokens.

    A full batch goes at once. A smaller one waits for company, at most `wait_seconds` from its
    first token's readiness, and only while other tokens are on their way. `filling_seconds`: so
    long it may fill up with tokens that are ready as well and only being checked, as after an
    outage, when all have waited long enough.
    """
    if not verified or len(verified) >= max_tokens or not others_on_their_way:
        return Departure(verified[:max_tokens])
    first = min(entry.ready_since for entry in verified)
    remaining = max((first + timedelta(seconds=wait_seconds) - at).total_seconds(), filling_seconds)
    return Departure(verified) if remaining <= 0 else Departure([], remaining)


def choose_company(waiting: Sequence[Waiting], *, max_tokens: int) -> list[Waiting]:
    """Return those, oldest mint first, that may travel with the first of them."""
    if not waiting:
        return []
    first = waiting[0]
    if first.reverts < _REVERTS_TO_PART:
        trusted = [entry for entry in waiting if entry.reverts < _REVERTS_TO_PART]
        return trusted[:max_tokens]
    alike = [entry for entry in waiting if entry.company == first.company and entry.reverts]
    return alike[: max(1, min(max_tokens, first.company // 2))]


# -- the chain's say, and poison ------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """A batch that the chain has nothing against; without candidates there is nothing to send.

    `waits_for_funds`: what is in flight already may use up what it would cost.
    """

    facts: RevealFacts
    candidates: list[Candidate]
    refused: list[Refusal]
    data: str = ""
    gas_limit: int = 0
    history: FeeHistory = field(default_factory=lambda: FeeHistory(0, ()))
    waits_for_funds: bool = False

    @property
    def revealed(self) -> list[int]:
        """The refused tokens that the chain calls revealed."""
        return [r.token_id for r in self.refused if r.error_class == "already_revealed"]

    @property
    def l1_fee_wei(self) -> int:
        """What its data costs on top of its gas, on Base."""
        return _l1_fee_wei(self.data, self.history)

    def cost_wei(self, fees: Fees) -> int:
        """What it may cost at the very most."""
        return self.gas_limit * fees.max_fee_per_gas_wei + self.l1_fee_wei


def prepare_batch(
    chain: ChainClient,
    *,
    keeper: str,
    candidates: Sequence[Candidate],
    in_flight: InFlight | None = None,
) -> Prepared:
    """Ask the chain about every candidate, simulate the reveal, and estimate its gas.

    Tokens that were revealed meanwhile, or that make the batch revert for any other reason, are
    found, taken out and named; the rest goes on. A batch above the chain's gas cap is halved.

    `in_flight`: the batch waits for these calls of the keeper if their cost and its own exceed the
    balance, and shrinks to what the keeper can pay for if there are none; None: nobody asks for
    the funds.

    Raises `ChainSetupError`, `RevertError` for a refusal that no token explains, and the errors of
    the RPC client.
    """
    facts = gate.read_facts(chain, keeper=keeper, candidates=candidates)
    refused = gate.check_tokens(candidates, facts)
    passing = _without(candidates, refused)
    reverted_once = False
    while passing:
        data = encode_reveal(*_call(passing))
        try:
            history, estimate = chain.fees_and_gas(
                keeper=keeper, data=data, percentile=PERCENTILES[settings.KEEPER_GAS_STRATEGY]
            )
        except RevertError as error:
            culprits = _culprits(chain, keeper, passing, error, named_is_enough=not reverted_once)
            reverted_once = True
            refused += culprits
            # If only the combination reverts, each half has its chance.
            passing = _without(passing, culprits) if culprits else _first_half(passing, error)
            continue
        except RpcError as error:
            if len(passing) == 1 or not is_above_cap(error):
                raise
            passing = passing[: len(passing) // 2]
            continue
        if estimate * settings.REVEAL_GAS_BUFFER > MAX_TRANSACTION_GAS and len(passing) > 1:
            passing = passing[: len(passing) // 2]
            continue
        limit = gas_limit(estimate, buffer=settings.REVEAL_GAS_BUFFER)
        prepared = Prepared(facts, passing, refused, data, limit, history)
        payable = len(passing) if in_flight is None else _payable(prepared, in_flight)
        if payable == 0:
            return Prepared(facts, [], refused, waits_for_funds=True)
        if payable == len(passing):
            return prepared
        passing = passing[:payable]
    return Prepared(facts, [], refused)


def _payable(prepared: Prepared, in_flight: InFlight) -> int:
    """Return how many of the tokens may go by the keeper's balance; 0: none before others.

    One may always go if nothing is in flight: whoever signs says what is missing.
    """
    count, facts, history = len(prepared.candidates), prepared.facts, prepared.history
    try:
        fees = choose_fees(history, ceiling_wei=configured_ceiling_wei())
    except GasPriceTooHighError:
        return count  # nothing is sent at this price
    unmined_wei = [
        call.most_wei + _l1_fee_wei(encode_reveal(call.token_ids, call.metadata_uris), history)
        for nonce, call in in_flight.items()
        if nonce >= facts.transaction_count
    ]
    cost_wei = prepared.cost_wei(fees)
    if cost_wei + sum(unmined_wei) <= facts.balance_wei:
        return count
    if unmined_wei:  # later nonces are mined after them in any case
        return 0
    return max(1, min(count - 1, count * facts.balance_wei // cost_wei))


def _l1_fee_wei(data: str, history: FeeHistory) -> int:
    return (len(data) // 2 + _ENVELOPE_BYTES) * history.l1_fee_per_byte_wei


def _without(candidates: Sequence[Candidate], refused: Sequence[Refusal]) -> list[Candidate]:
    turned_away = {refusal.token_id for refusal in refused}
    return [c for c in candidates if c.token_id not in turned_away]


def _first_half(candidates: list[Candidate], error: RevertError) -> list[Candidate]:
    if len(candidates) == 1:
        raise TransientError(f"{error}. The next try would not: it is asked again.", vendor=VENDOR)
    return candidates[: len(candidates) // 2]


Group = Sequence[Candidate]
# Says of each group whether its reveal would revert.
Simulate = Callable[[Sequence[Group]], Sequence[RevertError | None]]


def _culprits(
    chain: ChainClient, keeper: str, candidates: Group, error: RevertError, *, named_is_enough: bool
) -> list[Refusal]:
    """Return the tokens that make the batch revert: the one that the contract names, or search.

    The first name is trusted, since mostly it is the only one.
    """
    by_id = {c.token_id: c for c in candidates}
    named = already_revealed_id(error)
    if named in by_id and named_is_enough:
        return [_would_revert(by_id[named], error)]

    def simulate(groups: Sequence[Group]) -> list[RevertError | None]:
        return chain.simulate_reveals(keeper=keeper, reveals=[_call(group) for group in groups])

    found = find_poison(candidates, simulate)
    return [_would_revert(by_id[token_id], why) for token_id, why in found.items()]


def _call(group: Group) -> tuple[list[int], list[str]]:
    return [c.token_id for c in group], [c.metadata_uri for c in group]


def _would_revert(candidate: Candidate, error: RevertError) -> Refusal:
    token_id, looks = candidate.token_id, candidate.refusals
    if already_revealed_id(error) == token_id:
        text = "It was revealed on chain meanwhile, by a transaction that is not ours."
        return Refusal(token_id, text, "already_revealed", final=True)
    after = "Nothing was sent; it is tried again later, and the others go on."
    if looks >= MAX_WOULD_REVERT:
        after = "It was tried often enough: find out why, then retry it."
    return Refusal(
        token_id,
        f"Its reveal would revert: {revert_reason(error)}. {after}",
        WOULD_REVERT,
        final=looks >= MAX_WOULD_REVERT,
        wait_seconds=backoff_seconds(looks + 1, base=WOULD_REVERT_WAIT_SECONDS, cap=300.0),
        counted=True,
    )


def find_poison(candidates: Group, simulate: Simulate) -> dict[int, RevertError]:
    """Return why each poison token reverts by itself, of a batch that does revert.

    Halves of halves, all of a level in one round trip: k poison tokens among n are found in at most
    2·k·log2(n) simulations and log2(n) + 1 round trips.

    Nothing is found if only the combination reverts. Raises `RevertError` if even an empty
    reveal does: then it is the keeper or the contract, and no token.
    """
    found: dict[int, RevertError] = {}
    groups = _halves(candidates)
    *outcomes, of_nothing = simulate([*groups, []])
    if of_nothing is not None:
        raise of_nothing
    while groups:
        bad = [(group, error) for group, error in zip(groups, outcomes, strict=True) if error]
        found |= {group[0].token_id: error for group, error in bad if len(group) == 1}
        groups = [half for group, _ in bad if len(group) > 1 for half in _halves(group)]
        outcomes = list(simulate(groups)) if groups else []
    return found


def _halves(group: Group) -> list[Group]:
    middle = len(group) // 2
    return [part for part in (group[:middle], group[middle:]) if part]
