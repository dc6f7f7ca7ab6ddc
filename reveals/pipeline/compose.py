"""Compose: verified tokens become a batch, checked against the chain as it is now.

    claims   verified tokens, when they may depart
    calls    the chain's facts of one block; simulation, fees and gas
    settles  a batch with its nonce, to be signed; poison and what others revealed are set aside

A batch goes at once if nothing else is on its way, else after a bounded wait. Tokens whose
transactions were mined without effect, while every simulation was good, go in ever smaller batches:
so the one that is to blame gets to be alone, and the others are revealed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from django.conf import settings

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
from glisk.errors import (
    AccountError,
    ProviderError,
    TransientError,
    as_provider_error,
    backoff_seconds,
)
from glisk.timing import timing
from reveals import gate, outbox, reconcile
from reveals.gate import WOULD_REVERT, Candidate, set_aside
from reveals.keeper import (
    MAX_TRANSACTION_GAS,
    GasPriceTooHighError,
    choose_fees,
    configured_ceiling_wei,
    is_above_cap,
    percentile,
)
from reveals.models import RevealBatch, RevealTransaction
from reveals.outbox import RevealStep, Shared, Unsigned
from reveals.pipeline.verify import Verify
from reveals.reconcile import Answer, Found, Question
from tokens.models import Token
from tokens.transitions.claims import Refusal

logger = structlog.get_logger(__name__)

# One revert may be chance: the same tokens may try once more together.
_REVERTS_TO_PART = 2
# A token whose reveal would revert, and nobody can say why, is set aside for good after so many
# looks; nothing was sent for it.
MAX_WOULD_REVERT = 10
# What a signed transaction holds beside its call data: nonce, fees, addresses, signature.
_ENVELOPE_BYTES = 128


@dataclass(frozen=True)
class Composition:
    """Tokens that may depart, what the database knows of them, and when the chain is asked."""

    candidates: list[Candidate]
    questions: list[Question]
    in_flight: Sequence[RevealBatch]
    asked_at: datetime


@dataclass(frozen=True)
class Composed:
    """What the chain says; `answers` to the tokens that it calls revealed, as far as it tells."""

    prepared: Prepared
    answers: Sequence[Answer] = ()


class Compose(RevealStep[Composition, Composed]):
    def __init__(self, owner: str, shared: Shared, verify: Verify) -> None:
        super().__init__(owner, shared)
        self.verify = verify
        self.breaker = Breaker("chain")

    @property
    def breakers(self) -> Sequence[Breaker]:
        return (self.breaker,)

    def places(self) -> int:
        if self.shared.signer_is_away:
            return 0
        return min(super().places(), settings.REVEAL_MAX_IN_FLIGHT - len(self.shared.ours))

    def due_in(self) -> float | None:
        wait = self._departure()[1] if self.places() > 0 else None
        # A probe that is due already was not wanted now: then the idle tick will do.
        waits = (wait, self.breaker.seconds_until_probe or None)
        return min((wait for wait in waits if wait), default=None)

    def claim(self, limit: int) -> Sequence[Composition]:
        chosen, wait = self._departure()
        if not chosen or wait or not self.breaker.places(1):
            return ()
        questions = reconcile.questions_of({c.token_id: c.metadata_uri for c in chosen})
        return [Composition(chosen, questions, self.shared.ours, database_now())]

    def _departure(self) -> tuple[list[Candidate], float]:
        """Return who goes next, and in how many seconds."""
        most = settings.BATCH_REVEAL_MAX_TOKENS
        ready, checking = self.shared.ready, self.verify.checking
        verified = [c for c in ready.waiting if c.verified_at is not None]
        requested = [c for c in verified if c.requested]
        if requested and not any(c.requested and c.token_id in checking for c in ready.waiting):
            return choose_company(requested, max_tokens=most), 0.0
        company = choose_company([c for c in verified if not c.requested], max_tokens=most)
        others = company and (checking or ready.more_wait or Token.objects.on_their_way().exists())
        if len(company) == most or not others:
            return company, 0.0
        filling_since = min(c.verified_at for c in company if c.verified_at) if checking else None
        return company, seconds_to_wait(company, at=database_now(), filling_since=filling_since)

    def call(self, work: Composition) -> Composed:
        prepared = prepare_batch(
            self.chain,
            keeper=self.keeper.address,
            candidates=work.candidates,
            in_flight=work.in_flight,
        )
        revealed = [q for q in work.questions if q.token_id in prepared.revealed]
        try:
            answers = reconcile.ask_chain(self.chain, revealed) if revealed else []
        except ProviderError as error:  # they wait, the others go
            logger.warning("reconciliation_failed", error=str(error))
            answers = []
        return Composed(prepared, answers)

    def done(self, work: Composition, value: Composed) -> None:
        if (database_now() - work.asked_at).total_seconds() > timing.facts_last:
            logger.info("preparation_dropped", stale=True)
            return
        prepared = value.prepared
        answers = value.answers  # mostly none: nobody else reveals
        found = reconcile.settle_answers(answers, actor=self.owner) if answers else {}
        refused = [r for r in prepared.refused if r.token_id not in prepared.revealed]
        text = (
            "The chain calls it revealed, but not how: the node tells no more, or says at once "
            "that it is revealed and that it is not. It is asked again."
        )
        refused += [
            Refusal(token_id, text, "already_revealed", wait_seconds=timing.unclear_wait)
            for token_id in prepared.revealed
            if found.get(token_id, Found.UNREVEALED) in (Found.UNREVEALED, Found.UNSETTLED)
        ]
        set_aside(refused, actor=self.owner)
        if not prepared.candidates:
            self.breaker.succeeded()
        elif problem := self._reserve(prepared, work):
            self.breaker.failed(problem)
        else:
            self.breaker.succeeded()

    def failed(self, work: Composition, error: Exception) -> None:
        """Have every reveal wait, whatever it is: no single token explains it."""
        fault = as_provider_error(error, vendor=VENDOR)
        if fault is not error:
            logger.error("preparation_failed", exc_info=error)
        if isinstance(error, RevertError):  # the contract refuses the keeper or the season
            text = f"The reveal would revert: {error}. Nothing is sent."
            fault = AccountError(text, vendor=VENDOR)
        self.breaker.failed(fault)

    def _reserve(self, prepared: Prepared, work: Composition) -> ProviderError | None:
        """Give the batch a nonce and what is to be signed; or return what forbids that."""
        facts, address = prepared.facts, self.keeper.address
        try:
            unsigned, cost_wei = plan_call(prepared, work.in_flight)
        except GasPriceTooHighError as error:
            return TransientError(
                str(error),
                vendor=VENDOR,
                rate_limited=True,
                retry_after_seconds=timing.gas_price_wait,
            )
        if facts.balance_wei < cost_wei:
            return AccountError(
                f"The keeper {address} has {facts.balance_wei / 1e18:.9f} ETH, and the next reveal "
                f"may cost {cost_wei / 1e18:.9f} ETH, with what is in flight. Send it some; "
                "reveals go on automatically.",
                vendor=VENDOR,
                code="no_funds",
            )
        outbox.reserve_batch(
            keeper=address,
            candidates=prepared.candidates,
            unsigned=unsigned,
            transaction_count=facts.transaction_count,
            reviewed_at=work.asked_at,
        )
        return None


# -- who goes, and when ---------------------------------------------------------------------


def seconds_to_wait(
    company: Sequence[Candidate], *, at: datetime, filling_since: datetime | None = None
) -> float:
    """Return for how long a batch that is not full waits for tokens on their way.

    At most BATCH_REVEAL_WAIT_SECONDS from its first token's readiness. `filling_since`: for a
    moment longer it may fill up with tokens that are ready as well and only being checked, as
    after an outage, when all have waited long enough.
    """
    first = min(candidate.ready_since for candidate in company)
    ends = first + timedelta(seconds=settings.BATCH_REVEAL_WAIT_SECONDS)
    if filling_since is not None:
        ends = max(ends, filling_since + timedelta(seconds=timing.filling))
    return max(0.0, (ends - at).total_seconds())


def choose_company(waiting: Sequence[Candidate], *, max_tokens: int) -> list[Candidate]:
    """Return those, oldest mint first, that may travel with the first of them."""
    if not waiting or waiting[0].reverts < _REVERTS_TO_PART:
        return [c for c in waiting if c.reverts < _REVERTS_TO_PART][:max_tokens]
    company = waiting[0].company
    alike = [c for c in waiting if c.company == company and c.reverts]
    return alike[: max(1, min(max_tokens, company // 2))]


# -- the chain's say, and poison ------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """A batch that the chain has nothing against; without candidates there is nothing to send."""

    facts: RevealFacts
    candidates: Sequence[Candidate]
    refused: Sequence[Refusal]
    gas_limit: int = 0
    history: FeeHistory = field(default_factory=lambda: FeeHistory(0, ()))

    @property
    def revealed(self) -> list[int]:
        """The refused tokens that the chain calls revealed."""
        return [r.token_id for r in self.refused if r.error_class == "already_revealed"]


def plan_call(prepared: Prepared, in_flight: Sequence[RevealBatch]) -> tuple[Unsigned, int]:
    """Return what is to be signed, and the most that it and what is in flight may cost.

    Raises `GasPriceTooHighError`.
    """
    history = prepared.history
    fees = choose_fees(history, ceiling_wei=configured_ceiling_wei())
    unsigned = Unsigned.of(prepared.candidates, gas_limit=prepared.gas_limit, fees=fees)
    ahead = [
        batch.newest if batch.to_sign is None else Unsigned.read(batch)
        for batch in in_flight
        if batch.nonce >= prepared.facts.transaction_count
    ]
    return unsigned, sum(most_wei(call, history) for call in (unsigned, *ahead))


def most_wei(call: Unsigned | RevealTransaction, history: FeeHistory) -> int:
    """Return what a call may cost at the very most."""
    return call.gas_limit * int(call.max_fee_per_gas_wei) + l1_fee_wei(call, history)


def l1_fee_wei(call: Unsigned | RevealTransaction, history: FeeHistory) -> int:
    """Return what a call's data costs on top of its gas, on Base."""
    data = encode_reveal(call.token_ids, call.metadata_uris)
    return (len(data) // 2 + _ENVELOPE_BYTES) * history.l1_fee_per_byte_wei


def prepare_batch(
    chain: ChainClient,
    *,
    keeper: str,
    candidates: Sequence[Candidate],
    in_flight: Sequence[RevealBatch] | None = None,
) -> Prepared:
    """Ask the chain about every candidate, simulate the reveal, and estimate its gas.

    Tokens that were revealed meanwhile, or that make the batch revert for any other reason, are
    found, taken out and named; the rest goes on. A batch above the chain's gas cap is halved, and
    so is one that the keeper cannot pay for beside what is `in_flight`; None: nobody asks for that.

    Raises `ChainSetupError`, `RevertError` for a refusal that no token explains, and the errors of
    the RPC client.
    """
    facts = gate.read_facts(chain, keeper=keeper, candidates=candidates)
    refused = gate.check_tokens(candidates, facts)
    passing = without(candidates, refused)
    while passing:
        try:
            history, estimate = chain.fees_and_gas(
                keeper=keeper,
                data=encode_reveal(*_call(passing)),
                percentile=percentile(),
            )
        except RevertError as error:
            culprits = _culprits(chain, keeper, passing, error)
            refused += culprits
            if not culprits and len(passing) == 1:
                text = f"{error}. The next try would not: it is asked again."
                raise TransientError(text, vendor=VENDOR) from error
            # If only the combination reverts, each half has its chance.
            passing = without(passing, culprits) if culprits else _halves(passing)[0]
            continue
        except RpcError as error:
            if len(passing) == 1 or not is_above_cap(error):
                raise
            passing = _halves(passing)[0]
            continue
        gas_limit = int(estimate * settings.REVEAL_GAS_BUFFER)
        prepared = Prepared(facts, passing, refused, min(gas_limit, MAX_TRANSACTION_GAS), history)
        fits = gas_limit <= MAX_TRANSACTION_GAS and _is_payable(prepared, in_flight)
        if fits or len(passing) == 1:
            return prepared
        passing = _halves(passing)[0]
    return Prepared(facts, [], refused)


def _is_payable(prepared: Prepared, in_flight: Sequence[RevealBatch] | None) -> bool:
    try:
        return in_flight is None or (
            plan_call(prepared, in_flight)[1] <= prepared.facts.balance_wei
        )
    except GasPriceTooHighError:
        return True  # nothing is sent at this price


Group = Sequence[Candidate]


def without(candidates: Group, others: Sequence[Refusal | Candidate]) -> Group:
    done = {other.token_id for other in others}
    return [c for c in candidates if c.token_id not in done]


# Says of each group whether its reveal would revert.
Simulate = Callable[[Sequence[Group]], Sequence[RevertError | None]]


def _culprits(
    chain: ChainClient, keeper: str, candidates: Group, error: RevertError
) -> list[Refusal]:
    """Return the tokens that make the batch revert: the one that the contract names, or search."""
    by_id = {c.token_id: c for c in candidates}
    named = already_revealed_id(error)
    if named in by_id:
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
    final = looks >= MAX_WOULD_REVERT
    after = "Nothing was sent; it is tried again later, and the others go on."
    if final:
        after = "It was tried often enough: find out why, then retry it."
    return Refusal(
        token_id,
        f"Its reveal would revert: {revert_reason(error)}. {after}",
        WOULD_REVERT,
        final=final,
        wait_seconds=backoff_seconds(looks + 1, base=5.0, cap=300.0),
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
