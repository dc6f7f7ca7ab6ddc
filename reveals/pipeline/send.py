"""Send: stored bytes go to the node in nonce order, again and again until one of them is mined.

    claims   open batches whose newest bytes are due: not taken, perhaps dropped, or stuck
    calls    the chain, whether they may still be mined; then the broadcast
    settles  accepted; or what is to be signed in their place, with the same nonce and higher fees

Between signing and sending, a process may have been dead for a day, or a reorg may have taken the
mints. The contract would reveal an id all the same, for whoever mints it next: so what the chain
said is believed for some seconds only, and then it is asked again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any, Final

import structlog
from django.conf import settings

from glisk.breaker import Breaker
from glisk.clients.chain import ChainClient, FeeHistory, RevertError, RpcError
from glisk.clock import boot_seconds, database_now
from glisk.errors import (
    AccountError,
    InvalidRequestError,
    ProviderError,
    TransientError,
    as_provider_error,
    backoff_seconds,
)
from glisk.timing import timing
from reveals import gate, outbox
from reveals.gate import Candidate, candidates_of
from reveals.keeper import Fees, bump_fees, configured_ceiling_wei, percentile
from reveals.models import RevealBatch, RevealTransaction, TransactionStatus
from reveals.outbox import Doubt, RevealStep, Shared
from tokens.transitions.claims import Refusal

logger = structlog.get_logger(__name__)

# A minute of refusals or silence is worth an operator's look.
ALARM_AFTER_FAILURES = 8
# Who wants a replacement, if it is the node's pool.
UNDERPRICED = "the node: underpriced"
# What a node says of the transaction itself: some try it out before they take it, and it reverts.
_REFUSALS = (RpcError, RevertError, InvalidRequestError)


@dataclass(frozen=True)
class Sending:
    """The newest bytes of an open batch, and what the row says of them.

    `candidates`: its tokens that are still what was signed, if the chain is to be asked.
    `replaces`: others are to be signed in their place. `believes`: a missing mint is no lag of the
    node any more.
    """

    batch: RevealBatch
    raw: bytes
    claimed_at: datetime  # by the database's clock
    candidates: list[Candidate] | None = None
    replaces: bool = False
    believes: bool = False
    began: float = field(default_factory=boot_seconds)

    @property
    def row(self) -> RevealTransaction:
        return self.batch.newest


@dataclass(frozen=True)
class Sent:
    """What came of it; without verdict and refusal, nothing was broadcast."""

    review: Review | None = None
    token_ids: Sequence[int] = ()  # that may be revealed
    fees: Fees | None = None  # of the replacement
    verdict: Verdict | None = None
    refusal: str = ""


class Send(RevealStep[Sending, Sent]):
    def __init__(self, owner: str, shared: Shared) -> None:
        super().__init__(owner, shared)
        self.breaker = Breaker("chain")

    @property
    def most(self) -> int:  # type: ignore[override]
        return int(settings.REVEAL_MAX_IN_FLIGHT)

    def due_in(self) -> float | None:
        waits = [batch.send_at for batch in self._next() if batch.send_at is not None]
        return max(0.0, (min(waits) - database_now()).total_seconds()) if waits else None

    # -- claim --------------------------------------------------------------------------

    def claim(self, limit: int) -> Sequence[Sending]:
        now = database_now()
        due = [batch for batch in self._next() if batch.send_at is None or batch.send_at <= now]
        return [self._work(batch, now) for batch in due[:limit]]

    def _next(self) -> Iterator[RevealBatch]:
        """A nonce goes out when the one before it was taken, so that no node sees a gap."""
        busy, waiting_for = {work.batch.pk for work in self.under_way}, set()
        for batch in self.shared.open:
            if batch.keeper in waiting_for:
                continue
            if not batch.was_taken:
                waiting_for.add(batch.keeper)
            if batch.to_sign is None and batch.pk not in busy:
                yield batch

    def _work(self, batch: RevealBatch, now: datetime) -> Sending:
        replaces = batch.replace_at is not None or self._is_overdue(batch, now)
        reviewed_at = batch.reviewed_at
        asks = reviewed_at is None or (now - reviewed_at).total_seconds() > timing.facts_last
        return Sending(
            batch,
            raw=bytes(batch.newest.raw_transaction),
            claimed_at=now,
            candidates=candidates_of(batch.newest) if asks or replaces else None,
            replaces=replaces,
            believes=outbox.doubted_for(batch, Doubt.LATE) >= timing.believed_after,
        )

    def _is_overdue(self, batch: RevealBatch, now: datetime) -> bool:
        """Tell whether the newest one has been stuck, or refused, for too long."""
        if batch.keeper != self.keeper.address:
            return False  # nobody can sign in its place
        broadcast_at = batch.newest.broadcast_at
        if broadcast_at is not None:
            age = (now - broadcast_at).total_seconds()
        else:
            age = outbox.doubted_for(batch, Doubt.REFUSED)
        return age > settings.TRANSACTION_TIMEOUT_SECONDS

    # -- call ---------------------------------------------------------------------------

    def call(self, work: Sending) -> Sent:
        row, sent = work.row, Sent(token_ids=work.row.token_ids)
        if work.candidates is not None:
            found = review(self.chain, work.batch.signed, work.candidates)
            if found.spent or (found.late and not work.believes):
                return Sent(found)  # its receipt, or the next look decides
            sent = Sent(found, found.passing(row.token_ids))
            leaves_out = len(sent.token_ids) < len(row.token_ids)
            if work.replaces or leaves_out:
                fees = self._fees(work, found.history, leaves_out=leaves_out)
                # Without other fees: what nodes refused a moment ago, or what must not be mined.
                if fees or leaves_out or row.broadcast_at is None:
                    return replace(sent, fees=fees)
        if boot_seconds() - work.began > timing.facts_last:  # others may have gone on with the row
            raise TransientError("chain: claimed too long ago: nothing was sent.", vendor="chain")
        try:
            return replace(sent, verdict=broadcast(self.chain, work.raw))
        except _REFUSALS as error:
            return replace(sent, refusal=str(as_provider_error(error, vendor="chain")))

    def _fees(self, work: Sending, history: FeeHistory, *, leaves_out: bool) -> Fees | None:
        """Return a replacement's fees; None if it may not be, and the old bytes stay.

        Bytes that reveal what they must not are never sent again, though: rather others at the
        ceiling, which a node takes that does not have the old ones.
        """
        if work.batch.keeper != self.keeper.address:
            return None
        old, ceiling_wei = work.row, configured_ceiling_wei()
        paid = Fees(int(old.max_fee_per_gas_wei), int(old.max_priority_fee_per_gas_wei))
        is_too_little = work.batch.replace_by == UNDERPRICED and not work.batch.was_taken
        fees = bump_fees(paid, history, ceiling_wei=ceiling_wei, is_too_little=is_too_little)
        if fees is None and leaves_out:
            return Fees(*(min(fee, ceiling_wei) for fee in astuple(paid)))
        return fees

    # -- settle -------------------------------------------------------------------------

    def done(self, work: Sending, value: Sent) -> None:
        batch, row, found = work.batch, work.row, value.review
        changes: dict[str, Any] = {}
        if found is not None:
            reviewed = {"reviewed_at": work.claimed_at}
            if found.spent:
                outbox.send_later(batch, timing.rebroadcast, failures=0, **reviewed)
                return
            if outbox.doubt_lasts(batch, Doubt.LATE, found.late) == 0 and found.late:
                kinds = sorted({refusal.error_class for refusal in found.refusals})
                logger.warning("reveal_held_back", tx_hash=row.tx_hash, reasons=kinds)
            if found.late and not work.believes:
                outbox.send_later(batch, timing.review_again, failures=0)
                return
            if value.fees is not None:
                outbox.order_replacement(
                    row, fees=value.fees, token_ids=value.token_ids, **reviewed
                )
                return
            changes |= reviewed
            if work.replaces or len(value.token_ids) < len(row.token_ids):
                logger.error("replacement_impossible", tx_hash=row.tx_hash, nonce=row.nonce)
                # The price may fall: the same bytes have their chance.
                changes |= {"replace_at": None, "replace_by": ""}
                outbox.doubt_lasts(batch, Doubt.REFUSED, holds=False)
        if value.refusal:
            # Its page shows why no node takes it, until one does.
            RevealTransaction.objects.filter(pk=row.pk, status=TransactionStatus.SIGNED).update(
                error=value.refusal
            )
            outbox.doubt_lasts(batch, Doubt.REFUSED, holds=True)
            self._retry(work, value.refusal, **changes)
            return
        verdict, wait = value.verdict, timing.rebroadcast
        if verdict is not None:
            # A nonce that is spent: receipts tell by what. If nothing was mined, another
            # transaction in the node's pool has it, and this one has to outbid it.
            outbox.doubt_lasts(batch, Doubt.REFUSED, holds=verdict is Verdict.NONCE_SPENT)
        if verdict is Verdict.ACCEPTED:
            outbox.mark_broadcast(row)
        elif verdict is Verdict.NO_FUNDS:
            wait = timing.no_funds_wait
            if row.keeper == self.keeper.address:
                text = (
                    f"The keeper {row.keeper} cannot pay for {row.tx_hash}. Send it some; reveals "
                    "go on automatically."
                )
                self.breaker.failed(AccountError(text, vendor="chain", code="no_funds"))
        elif verdict is Verdict.UNDERPRICED and row.broadcast_at is None:
            outbox.want_replacement(batch.pk, actor=UNDERPRICED)
            wait = 0.0
        outbox.send_later(batch, wait, failures=0, **changes)

    def failed(self, work: Sending, error: Exception) -> None:
        self._retry(work, str(as_provider_error(error, vendor="chain")), error)

    def _retry(
        self, work: Sending, fault: str, error: Exception | None = None, **changes: Any
    ) -> None:
        failures = work.batch.failures + 1
        logger.log(
            logging.ERROR if failures > ALARM_AFTER_FAILURES else logging.WARNING,
            "send_failed",
            tx_hash=work.row.tx_hash,
            error=fault,
            exc_info=None if isinstance(error, ProviderError) else error,
        )
        wait = backoff_seconds(failures, base=0.5, cap=10.0)
        outbox.send_later(work.batch, wait, failures=failures, **changes)


# -- may the bytes still be mined? ----------------------------------------------------------

# What passes by itself in most cases: a node that lags, or a mint that a reorg moved.
_LATE = frozenset({"not_minted", "author_unknown", "reorged", "unconfirmed"})
# Of these, the ones that make a reveal wrong if they stay. The block of a mint does not.
_WRONG_IF_LASTING = frozenset({"not_minted", "author_unknown"})


@dataclass(frozen=True)
class Review:
    """What the chain says of an open batch now."""

    spent: bool  # its nonce is: the receipts tell by what
    history: FeeHistory
    refusals: Sequence[Refusal] = ()

    @property
    def late(self) -> bool:
        """Whether waiting a while may mend a refusal."""
        return any(refusal.error_class in _LATE for refusal in self.refusals)

    def passing(self, token_ids: Sequence[int]) -> list[int]:
        """Return the tokens that may be revealed after all waiting."""
        wrong = [r for r in self.refusals if r.error_class not in _LATE - _WRONG_IF_LASTING]
        return [i for i in token_ids if i not in {refusal.token_id for refusal in wrong}]


def review(
    chain: ChainClient, rows: Sequence[RevealTransaction], candidates: Sequence[Candidate]
) -> Review:
    """Ask the chain about the tokens of an open batch; no database.

    `rows` are all transactions of its nonce, `candidates` those tokens of the newest one that are
    still what was signed. Raises `ChainSetupError` if nothing may be sent at all, and the errors of
    the chain's client.
    """
    newest = rows[-1]
    facts = gate.read_facts(chain, keeper=newest.keeper, candidates=candidates)
    # Asked after the facts: what we revealed ourselves by then has a receipt now.
    mined = chain.mined_transactions(keeper=newest.keeper, tx_hashes=[row.tx_hash for row in rows])
    history = chain.fee_history(percentile=percentile())
    if mined.transaction_count > newest.nonce or any(mined.receipts.values()):
        return Review(True, history)
    changed = set(newest.token_ids) - {candidate.token_id for candidate in candidates}
    text = "It is not what was signed any more."
    refusals = [Refusal(token_id, text, "changed", final=True) for token_id in sorted(changed)]
    return Review(False, history, refusals + gate.check_tokens(candidates, facts))


# -- what a node says of the bytes ----------------------------------------------------------

# Every node says it in its own words ("underpriced", "FeeTooLowToCompete", "insufficient gas price
# to replace existing transaction"), so the words are brought to one form, and the kind of a refusal
# is known by what it speaks of: the nonce, the funds, the fee, or a transaction that is there.
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")
# Whole words: a load balancer that asks to slow down says nothing of balances.
_TOO_LITTLE: Final = r"\b(?:low|lower|below|under|less|minimum|insufficient|small)\b"
_FUNDS: Final = r"\b(?:funds?|balances?)\b"
_NOT_ENOUGH: Final = r"\b(?:insufficient|exceed(?:s|ed|ing)?|enough|cover(?:s|ed)?|afford)\b"


class Verdict(Enum):
    ACCEPTED = "accepted"  # now, or before: the node has it
    NONCE_SPENT = "nonce_spent"  # a transaction of this nonce is mined: look for receipts
    UNDERPRICED = "underpriced"  # it needs higher fees
    NO_FUNDS = "no_funds"  # the keeper's balance does not cover it: it waits for a top-up


# In this order: "insufficient funds for gas * price" speaks of a price too, and a refusal of a
# replacement may name the nonce, or say that a transaction is there already.
_RULES: Final = tuple(
    (re.compile(pattern), verdict)
    for pattern, verdict in (
        # "nonce too low: next nonce 4, tx nonce 3", "OldNonce", "nonce has already been used"
        (
            r"\bnonces? (?:\w+ ){0,3}(?:low|lower|old|used|spent|stale)\b|\b(?:old|stale) nonce\b",
            Verdict.NONCE_SPENT,
        ),
        # "insufficient funds for …", "Upfront cost exceeds account balance", "not enough funds"
        (
            rf"{_NOT_ENOUGH}.*{_FUNDS}|\blow {_FUNDS}"
            rf"|{_FUNDS}.*(?:{_NOT_ENOUGH}|\b(?:sufficient|low|lower|below)\b)",
            Verdict.NO_FUNDS,
        ),
        # "replacement transaction underpriced", "max fee per gas less than block base fee",
        # "FeeTooLow…", "transaction priority fee below minimum required priority fee 5",
        # "could not replace existing tx"
        (
            rf"under ?priced|\b(?:fee|price|tip)s?\b.*{_TOO_LITTLE}"
            rf"|{_TOO_LITTLE}.*\b(?:fee|price|tip)s?\b|\breplac",
            Verdict.UNDERPRICED,
        ),
        # "already known", "AlreadyKnown", "transaction already imported", "known transaction: 0xab"
        (
            r"\balready (?:known|import|exist|in |pooled|received|submitted)"
            r"|\bknown transaction|\bsame hash",
            Verdict.ACCEPTED,
        ),
    )
)


def broadcast(chain: ChainClient, raw: bytes) -> Verdict:
    """Send signed bytes. Sending them again and again is harmless.

    Raises `TransientError` if the node did not answer (it may have the transaction all the
    same), `AccountError` for our account with the provider, and another `ProviderError` for a
    refusal that no rule here knows.
    """
    try:
        chain.send_raw_transaction(raw)
    except (TransientError, AccountError):
        raise
    except ProviderError as error:
        verdict = classify(error.said or str(error))
        if verdict is None:
            raise
        return verdict
    return Verdict.ACCEPTED


def classify(message: str) -> Verdict | None:
    """Return what a node's refusal means, or None if it is not known."""
    words = _SEPARATORS.sub(" ", _CAMEL.sub(" ", message).lower())
    return next((verdict for pattern, verdict in _RULES if pattern.search(words)), None)
