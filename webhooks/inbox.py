"""The inbox: an event is stored before anything is done about it, and done once.

    store (own commit) → mints, tokens, wake-up and verdicts in one transaction

What fails stays in the inbox as `failed` and is done again when the vendor delivers again, or
by `webhooks.tasks.finish_events`. There is no lock on the event: registration is idempotent, and
of two deliveries at the same time the first to commit writes the verdicts.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from django.db import Error, connection, transaction
from django.db.backends.postgresql.base import ServerBindingCursor
from django.utils import timezone
from rest_framework.exceptions import ParseError

from glisk.logging.redaction import redact_text
from tokens.minting.registration import DOUBTFUL, MintOutcome, register_mints
from tokens.models.mint import MintEvent, MintSource
from tokens.recovery.schedule import look_soon
from webhooks.alchemy import AlchemyEvent, Finding, Verdict, read_event
from webhooks.models import EventStatus, WebhookEvent

ACTOR: Final = "webhook"
# An event rarely has more than a few logs; a body of nonsense can have millions.
MAX_STORED_VERDICTS: Final = 500
DONE: Final = (EventStatus.PROCESSED.value, EventStatus.IGNORED.value)
UNFINISHED: Final = (EventStatus.RECEIVED.value, EventStatus.FAILED.value)
_DOUBTFUL: Final = {Verdict.REMOVED.value, Verdict.INCOMPLETE.value} | {*DOUBTFUL}

logger = structlog.get_logger(__name__)


class EventNotProcessedError(Exception):
    """The event is stored, but the work on it failed; it has to be done again."""


@dataclass(frozen=True)
class Receipt:
    """What became of a delivery: "processed", "duplicate" or "ignored", and logs by verdict."""

    status: str
    counts: dict[str, int] = field(default_factory=dict)
    tokens: int = 0


def receive_event(event: AlchemyEvent, body: bytes) -> Receipt:
    """Store a signed event and register its mints; safe to call again with the same event.

    Raises `EventNotProcessedError` if the work failed after the event was stored, and
    `django.db.Error` if it could not be stored at all.
    """
    _warn(event)
    if event.heartbeat:
        return Receipt("ignored")
    with prepared_statements():
        event_pk, status, deliveries = _store(event, body)
        if status not in DONE:
            return _process(event_pk, event)
    return _looked_into(
        Receipt("duplicate") if deliveries > 1 else Receipt("ignored", _counts(event.findings))
    )


@contextmanager
def prepared_statements() -> Iterator[None]:
    """Send parameters apart from the SQL, and prepare what comes for the second time.

    Django merges parameters into the SQL, so that PostgreSQL parses and plans each statement anew:
    twice the CPU of a delivery (`single_per_s` of the benchmark `webhook_intake`). Not for a pooler
    that knows no prepared statements (see DATABASE_URL).
    """
    connection.ensure_connection()
    session = connection.connection
    before = session.cursor_factory, session.prepare_threshold
    session.cursor_factory, session.prepare_threshold = ServerBindingCursor, 1
    try:
        yield
    finally:
        session.cursor_factory, session.prepare_threshold = before


def replay_event(event_pk: int) -> int:
    """Process a stored event again, whatever its state; return how many tokens it created.

    Raises `EventNotProcessedError`, which says why to an operator.
    """
    stored = WebhookEvent.objects.filter(pk=event_pk).first()
    if stored is None:
        raise EventNotProcessedError("There is no such event.")
    try:
        event = read_event(bytes(stored.body))
    except ParseError as error:
        raise EventNotProcessedError(str(error.detail)) from error
    return _process(event_pk, event, again=True).tokens


def _looked_into(receipt: Receipt) -> Receipt:
    """Have the chain itself asked where a log hints at a reorg, or cannot be registered."""
    if not _DOUBTFUL.isdisjoint(receipt.counts):
        try:
            look_soon()
        except Error as error:  # the schedule looks a few seconds later
            logger.warning("look_not_enqueued", error=str(error).strip())
    return receipt


def _store(event: AlchemyEvent, body: bytes) -> tuple[int, str, int]:
    """Insert the event, or count one more delivery; return its key, status and deliveries."""
    sql = """
        INSERT INTO webhook_events
            (event_id, webhook_id, event_type, body, status, deliveries, verdicts, error,
             received_at, last_delivery_at, processed_at)
        VALUES (%s, %s, %s, %s, %s, 1, %s::jsonb, %s, clock_timestamp(), clock_timestamp(), %s)
        ON CONFLICT (event_id) DO UPDATE
        SET deliveries = webhook_events.deliveries + 1, last_delivery_at = clock_timestamp()
        RETURNING id, status, deliveries
    """
    facts: list[Any] = [event.id, event.webhook_id, event.type, body]
    if event.mints or event.removed:
        facts += [EventStatus.RECEIVED.value, "[]", "", None]
    else:  # there is nothing to do: the first commit is the last one
        verdicts = json.dumps(_verdicts(event.findings, []))
        facts += [EventStatus.IGNORED.value, verdicts, _error(event), timezone.now()]
    with connection.cursor() as cursor:
        cursor.execute(sql, facts)
        row: tuple[int, str, int] = cursor.fetchone()
        return row


def _process(event_pk: int, event: AlchemyEvent, *, again: bool = False) -> Receipt:
    """Register an event's mints and mark it; `again` does so for one that was done before."""
    states = EventStatus.values if again else UNFINISHED
    try:
        with transaction.atomic():
            outcomes = register_mints(event.mints, source=MintSource.WEBHOOK, actor=ACTOR)
            if event.removed:
                MintEvent.objects.filter(tx_hash__in=event.removed).unsettle()
            written = _finish(event_pk, event, outcomes, states)
    except Exception as error:  # whatever it is, the event must be found as failed
        raise EventNotProcessedError(_mark_failed(event_pk, error)) from error
    if not written:
        return Receipt("duplicate")  # the other delivery of the two was first
    counts = _counts(event.findings) | Counter(outcome.result.value for outcome in outcomes)
    tokens = sum(len(outcome.created) for outcome in outcomes)
    return _looked_into(Receipt("processed" if outcomes else "ignored", dict(counts), tokens))


def _finish(
    event_pk: int, event: AlchemyEvent, outcomes: Sequence[MintOutcome], states: Iterable[str]
) -> bool:
    """Mark an event that is in one of these states as done; tell whether it was in one."""
    # By SQL: the ORM's update would take a twelfth of a delivery's CPU.
    sql = """
        UPDATE webhook_events
        SET status = %s, verdicts = %s::jsonb, error = %s, processed_at = clock_timestamp()
        WHERE id = %s AND status = ANY(%s)
    """
    status = EventStatus.PROCESSED if outcomes else EventStatus.IGNORED
    verdicts = json.dumps(_verdicts(event.findings, outcomes))
    with connection.cursor() as cursor:
        cursor.execute(sql, [status.value, verdicts, _error(event), event_pk, list(states)])
        return bool(cursor.rowcount)


def _mark_failed(event_pk: int, error: Exception) -> str:
    """Mark an event as failed, and return why, in words that an operator may read."""
    logger.error("webhook_event_failed", exc_info=error)
    text = redact_text(f"{type(error).__name__}: {error}")[:1000].replace("\x00", "")
    try:
        WebhookEvent.objects.filter(pk=event_pk, status__in=UNFINISHED).update(
            status=EventStatus.FAILED, error=text, processed_at=timezone.now()
        )
    except Error:
        logger.warning("webhook_event_failure_not_stored")  # it stays `received`
    return text


def _counts(findings: Sequence[Finding]) -> Counter[str]:
    """Count the logs that did not come as far as registration."""
    return Counter(finding.verdict.value for finding in findings if not finding.mint)


def _verdicts(findings: Sequence[Finding], outcomes: Sequence[MintOutcome]) -> list[dict[str, Any]]:
    """Return one JSON object per log: what it was, what became of it."""
    by_mint = iter(outcomes)
    verdicts: list[dict[str, Any]] = []
    for place, finding in enumerate(findings[:MAX_STORED_VERDICTS]):
        verdict: dict[str, Any] = {"log": place, "verdict": finding.verdict.value}
        if finding.reason:
            verdict["reason"] = finding.reason
        if mint := finding.mint:
            outcome = next(by_mint)
            verdict |= {
                "verdict": outcome.result.value,
                "tx_hash": mint.tx_hash,
                "log_index": mint.log_index,
                "tokens": [mint.start_token_id, mint.token_ids[-1]],
            }
            if outcome.conflicting:
                verdict["conflicting"] = list(outcome.conflicting)
        verdicts.append(verdict)
    left_out = len(findings) - len(verdicts)
    return [*verdicts, {"verdict": "not_listed", "logs": left_out}] if left_out else verdicts


def _error(event: AlchemyEvent) -> str:
    """Say why an event, or a part of it, led to nothing."""
    return event.ignored or next((f.reason for f in event.findings if f.reason), "")


def _warn(event: AlchemyEvent) -> None:
    verdicts = {finding.verdict for finding in event.findings}
    if event.over_capacity:
        logger.warning("alchemy_over_capacity", told=event.ignored)
    elif Verdict.INCOMPLETE in verdicts:
        # The mint is not lost: the backfill finds it. But the webhook's query needs mending.
        logger.error("webhook_query_incomplete", reason=_error(event))
    elif Verdict.MALFORMED in verdicts:
        logger.error("webhook_log_malformed", reason=_error(event))
