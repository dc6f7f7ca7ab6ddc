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
from glisk.engine.alarms import raise_alarm
from glisk.engine.step import Done, Failed
from glisk.errors import (
    AccountError,
    ProviderError,
    TransientError,
    as_provider_error,
    backoff_seconds,
)
from reveals import gate, outbox, reconcile
from reveals.candidates import WOULD_REVERT, Waiting, set_aside
from reveals.fees import (
    MAX_TRANSACTION_GAS,
    PERCENTILES,
    GasPriceTooHighError,
    choose_fees,
    configured_ceiling_wei,
    gas_limit,
    is_above_cap,
)
from reveals.gate import Candidate, Objection, check_setup, objections
from reveals.keeper import note_facts, note_problem
from reveals.models import RevealBatch
from reveals.outbox import Unsigned
from reveals.pipeline.step import RevealStep, Shared
from reveals.pipeline.verify import Verify
from reveals.reconcile import Answer, Question
from tokens.models import Token

logger = structlog.get_logger(__name__)

# A batch waits so long for tokens whose files are being checked just now.
FILLING_SECONDS = 1.0
GAS_PRICE_WAIT_SECONDS = 5.0
# The keeper's balance may be spoken for by what is in flight; asked again every block of Base.
FUNDS_WAIT_SECONDS = 2.0
SHORT_FUNDS_LAST_SECONDS = 20.0  # on the pages, from the last time on
# One revert may be chance: the same tokens may try once more together.
_REVERTS_TO_PART = 2
# A token whose reveal would revert, and nobody can say why, is set aside for good after so many
# looks; nothing was sent for it.
MAX_WOULD_REVERT = 10
WOULD_REVERT_WAIT_SECONDS = 5.0
# What a signed transaction holds beside its call data: nonce, fees, addresses, signature.
_ENVELOPE_BYTES = 128


@dataclass(frozen=True)
class Composition:
    """Tokens that may depart, what the database knows of them, and when the chain is asked."""

    candidates: list[Candidate]
    questions: dict[int, Question]
    in_flight: dict[int, Unmined]
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

    def places(self) -> int:
        room = settings.REVEAL_MAX_IN_FLIGHT - len(self.open.of(self.keeper.address))
        return min(super().places(), room)

    def due_in(self) -> float | None:
        departure = self._departure() if self.places() > 0 else Departure([])
        # A probe that is due already was not wanted now: then the idle tick will do.
        waits = (departure.wait_seconds, self.breaker.seconds_until_probe or None)
        return min((wait for wait in waits if wait is not None), default=None)

    def claim(self, limit: int) -> Sequence[Composition]:
        chosen = [entry.candidate for entry in self._departure().now]
        if not chosen or not self.breaker.places(1):
            return ()
        questions = reconcile.questions_of({c.token_id: c.metadata_uri for c in chosen})
        return [
            Composition(
                candidates=chosen,
                questions={question.token_id: question for question in questions},
                in_flight={b.nonce: _unmined(b) for b in self.open.of(self.keeper.address)},
                asked_at=database_now(),
            )
        ]

    def _departure(self) -> Departure:
        """Decide who goes now, or when to look again."""
        most = settings.BATCH_REVEAL_MAX_TOKENS
        waiting, checking = self.ready.waiting, self.verify.checking
        verified = [entry for entry in waiting if entry.verified_at is not None]
        requested = [entry for entry in verified if entry.requested]
        if requested and not any(e.requested and e.candidate.token_id in checking for e in waiting):
            return Departure(choose_company(requested, max_tokens=most))
        company = choose_company([e for e in verified if not e.requested], max_tokens=most)
        if not company:
            return Departure([])
        others = checking or self.ready.more_wait or Token.objects.on_their_way().exists()
        first = min(entry.verified_at for entry in company if entry.verified_at)
        filling = first + timedelta(seconds=FILLING_SECONDS) - database_now()
        return decide_departure(
            company,
            others_on_their_way=bool(others),
            at=timezone.now(),
            max_tokens=most,
            wait_seconds=settings.BATCH_REVEAL_WAIT_SECONDS,
            filling_seconds=filling.total_seconds() if checking else 0.0,
        )

    @property
    def breakers(self) -> Sequence[Breaker]:
        return (self.breaker,)

    def call(self, work: Composition) -> Composed:
        prepared = prepare_batch(
            self.chain,
            keeper=self.keeper.address,
            candidates=work.candidates,
            in_flight=work.in_flight,
        )
        revealed = [work.questions[i] for i in prepared.revealed if i in work.questions]
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
            if age > gate.FACTS_LAST_SECONDS:
                logger.info("preparation_dropped", stale=True)
                continue
            self._set_aside(each.value)
            self._reserve(each.work, each.value.prepared)

    def _problem(self, error: Exception) -> ProviderError:
        """Return what keeps every reveal waiting."""
        if isinstance(error, RevertError):
            # No single token explains it: the contract refuses the keeper or the season.
            text = f"The reveal would revert: {error}. Nothing is sent."
            return AccountError(text, vendor="chain")
        if isinstance(error, gate.ChainSetupError):
            note_problem(str(error), address=self.keeper.address)
        if isinstance(error, ProviderError):
            return error
        logger.error("preparation_failed", exc_info=error)
        return AccountError(str(as_provider_error(error, vendor="chain")), vendor="chain")

    def _set_aside(self, composed: Composed) -> None:
        """Let go of the tokens that may not be revealed; follow the chain where it was faster."""
        revealed = composed.prepared.revealed
        refused = [o for o in composed.prepared.refused if o.token_id not in revealed]
        if composed.fault:
            logger.warning("reconciliation_failed", error=composed.fault)
            refused += reconcile.unclear(revealed, reason=composed.fault)
        elif composed.answers:
            report = reconcile.settle_answers(composed.answers, actor=self.owner)
            refused += reconcile.left_waiting(report)
        set_aside(refused, actor=self.owner)

    def _reserve(self, work: Composition, prepared: Prepared) -> None:
        """Give the batch a nonce and what is to be signed, unless the keeper cannot pay for it."""
        if not prepared.candidates:
            self.breaker.succeeded()
            if prepared.waits_for_funds:
                self.pause(FUNDS_WAIT_SECONDS)
                _tell_of_short_funds(prepared)
            return
        try:
            fees = choose_fees(prepared.history, ceiling_wei=configured_ceiling_wei())
        except GasPriceTooHighError as error:
            self.breaker.failed(
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
            self.breaker.failed(_no_funds(self.keeper.address, prepared, cost_wei))
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


def _unmined(batch: RevealBatch) -> Unmined:
    """Return what the newest transaction of an open batch may cost."""
    if batch.to_sign is not None:
        unsigned = Unsigned(**batch.to_sign)
        data = encode_reveal(unsigned.token_ids, unsigned.metadata_uris)
        return Unmined(unsigned.most_wei, len(data) // 2 + _ENVELOPE_BYTES)
    row = batch.newest
    data = encode_reveal(row.token_ids, row.metadata_uris)
    return Unmined(row.most_wei, len(data) // 2 + _ENVELOPE_BYTES)


def _tell_of_short_funds(prepared: Prepared) -> None:
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


def _no_funds(keeper: str, prepared: Prepared, cost_wei: int) -> AccountError:
    balance = prepared.facts.balance_wei / 1e18
    return AccountError(
        f"The keeper {keeper} has {balance:.6f} ETH, and the next reveal may cost "
        f"{cost_wei / 1e18:.6f} ETH. Send it some; reveals go on by themselves.",
        vendor="chain",
        code="no_funds",
    )


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
class Unmined:
    """A transaction in flight: what its gas may cost at most, and its bytes."""

    most_wei: int
    size: int


@dataclass(frozen=True)
class Prepared:
    """A batch that the chain has nothing against; without candidates there is nothing to send.

    `waits_for_funds`: what is in flight already may use up what it would cost.
    """

    facts: RevealFacts
    candidates: list[Candidate]
    refused: list[Objection]
    data: str = ""
    gas_limit: int = 0
    history: FeeHistory = field(default_factory=lambda: FeeHistory(0, ()))
    waits_for_funds: bool = False

    @property
    def revealed(self) -> list[int]:
        """The refused tokens that the chain calls revealed."""
        return [o.token_id for o in self.refused if o.error_class == "already_revealed"]

    @property
    def l1_fee_wei(self) -> int:
        """What its data costs on top of its gas, on Base."""
        return _l1_fee_wei(self.data, self.history)


def prepare_batch(
    chain: ChainClient,
    *,
    keeper: str,
    candidates: Sequence[Candidate],
    in_flight: Mapping[int, Unmined] | None = None,
) -> Prepared:
    """Ask the chain about every candidate, simulate the reveal, and estimate its gas.

    Tokens that were revealed meanwhile, or that make the batch revert for any other reason, are
    found, taken out and named; the rest goes on. A batch above the chain's gas cap is halved.

    `in_flight`: the keeper's transactions by their nonces. The batch waits for them if their cost
    and its own exceed the balance, and shrinks to what the keeper can pay for if there are none;
    None: nobody asks for the funds.

    Raises `ChainSetupError`, `RevertError` for a refusal that no token explains, and the errors of
    the RPC client.
    """
    blocks = sorted({c.mint_block for c in candidates if c.mint_block is not None})
    facts = chain.reveal_facts(
        keeper=keeper,
        token_ids=[c.token_id for c in candidates],
        mint_blocks=blocks,
        confirmations=settings.MINT_CONFIRMATIONS,
    )
    check_setup(facts, keeper=keeper)
    refused = objections(candidates, facts)
    passing = _without(candidates, refused)
    reverted_once = False
    while passing:
        data = encode_reveal([c.token_id for c in passing], [c.metadata_uri for c in passing])
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
        if in_flight is not None:
            cost_wei = limit * _price_wei(history) + _l1_fee_wei(data, history)
            unmined_wei = [
                unmined.most_wei + unmined.size * history.l1_fee_per_byte_wei
                for nonce, unmined in in_flight.items()
                if nonce >= facts.transaction_count
            ]
            payable = _payable(len(passing), cost_wei, facts.balance_wei, unmined_wei)
            if payable == 0:
                return Prepared(facts, [], refused, waits_for_funds=True)
            if payable < len(passing):
                passing = passing[:payable]
                continue
        return Prepared(facts, passing, refused, data, limit, history)
    return Prepared(facts, [], refused)


def _payable(count: int, cost_wei: int, balance_wei: int, unmined_wei: Sequence[int]) -> int:
    """Return how many of so many tokens may go by the keeper's balance; 0: none before others.

    One may always go if nothing is in flight: whoever signs says what is missing.
    """
    if cost_wei + sum(unmined_wei) <= balance_wei:
        return count
    if unmined_wei:  # later nonces are mined after them in any case
        return 0
    return max(1, min(count - 1, count * balance_wei // cost_wei))


def _l1_fee_wei(data: str, history: FeeHistory) -> int:
    return (len(data) // 2 + _ENVELOPE_BYTES) * history.l1_fee_per_byte_wei


def _price_wei(history: FeeHistory) -> int:
    """Return the most that a unit of gas may cost; 0 if nothing may be sent at this price."""
    try:
        return choose_fees(history, ceiling_wei=configured_ceiling_wei()).max_fee_per_gas_wei
    except GasPriceTooHighError:
        return 0


def _without(candidates: Sequence[Candidate], refused: Sequence[Objection]) -> list[Candidate]:
    turned_away = {objection.token_id for objection in refused}
    return [c for c in candidates if c.token_id not in turned_away]


def _first_half(candidates: list[Candidate], error: RevertError) -> list[Candidate]:
    if len(candidates) == 1:
        raise TransientError(f"{error}. The next try would not: it is asked again.", vendor=VENDOR)
    return candidates[: len(candidates) // 2]


def _culprits(
    chain: ChainClient,
    keeper: str,
    candidates: list[Candidate],
    error: RevertError,
    *,
    named_is_enough: bool,
) -> list[Objection]:
    """Return the tokens that make the batch revert: the one that the contract names, or search.

    The first name is trusted, since mostly it is the only one.
    """
    by_id = {c.token_id: c for c in candidates}
    named = already_revealed_id(error)
    if named in by_id and named_is_enough:
        return [_objection(by_id[named], error)]

    def simulate(groups: Sequence[Group]) -> list[RevertError | None]:
        reveals = [([c.token_id for c in g], [c.metadata_uri for c in g]) for g in groups]
        return chain.simulate_reveals(keeper=keeper, reveals=reveals)

    found = find_poison(candidates, simulate)
    return [_objection(by_id[token_id], why) for token_id, why in found.items()]


def _objection(candidate: Candidate, error: RevertError) -> Objection:
    if already_revealed_id(error) == candidate.token_id:
        return Objection(
            candidate.token_id,
            "It was revealed on chain meanwhile, by a transaction that is not ours.",
            "already_revealed",
            final=True,
        )
    hopeless = candidate.refusals >= MAX_WOULD_REVERT
    after = (
        "It was tried often enough: find out why, then retry it."
        if hopeless
        else "Nothing was sent; it is tried again later, and the others go on."
    )
    return Objection(
        candidate.token_id,
        f"Its reveal would revert: {revert_reason(error)}. {after}",
        WOULD_REVERT,
        final=hopeless,
        wait_seconds=backoff_seconds(
            candidate.refusals + 1, base=WOULD_REVERT_WAIT_SECONDS, cap=300.0
        ),
        counted=True,
    )


Group = Sequence[Candidate]
# Says of each group whether its reveal would revert.
Simulate = Callable[[Sequence[Group]], Sequence[RevertError | None]]


def find_poison(candidates: Group, simulate: Simulate) -> dict[int, RevertError]:
    """Return why each poison token reverts by itself, of a batch that does revert.

    Halves of halves, all of a level in one round trip: k poison tokens among n are found in at most
    2·k·log2(n) simulations and log2(n) + 1 round trips.

    Nothing is found if only the combination reverts. Raises `RevertError` if even an empty
    reveal does: then it is the keeper or the contract, and no token.
    """
    found: dict[int, RevertError] = {}
    groups: list[Group] = [candidates]
    asked_for_nothing = False
    while groups:
        parts: list[Group] = [part for group in groups for part in _halves(group)]
        if not asked_for_nothing:
            parts.append([])
        outcomes = list(simulate(parts))
        if not asked_for_nothing:
            parts.pop()
            general = outcomes.pop()
            if general is not None:
                raise general
            asked_for_nothing = True
        groups = []
        for part, error in zip(parts, outcomes, strict=True):
            if error is None:
                continue
            if len(part) == 1:
                found[part[0].token_id] = error
            else:
                groups.append(part)
    return found


def _halves(group: Group) -> list[Group]:
    middle = len(group) // 2
    return [part for part in (group[:middle], group[middle:]) if part]
