"""Claims and leases: who works on which token, for how long, what if they die, and when again.

A claim is one UPDATE over rows that nobody else holds (SKIP LOCKED), chosen once: as a plain
subquery the planner could choose anew per row and claim more than was asked for. Each claim has a
number of its own (`lease_number`, which only grows): with the owner it is the fence of all that is
written under it. `attempts` counts the claims that had no outcome, so that a token which kills its
workers is set aside in the end; what is settled or given back in order is not counted. No token is
claimed before its `next_attempt_at` (a failed attempt, a refusal), and no held one.

What is looked up by a token's id compares `status || ''`. Else an index over all tokens or jobs in
that status would do as well, by statistics from before a drop that know of none: and then each
lookup reads all of them. A large table has new statistics late.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest, Now

from glisk.metrics import count_retry
from tokens.models import ImageGenerationJob, Token
from tokens.models.job import OPEN_JOB_STATUSES, JobService, JobStatus
from tokens.states import ACTIVE, TokenStatus
from tokens.transitions.status import Move, as_json, move_tokens

logger = structlog.get_logger(__name__)

# A token that was claimed this often without any outcome kills its workers: it is set aside.
MAX_CLAIMS = 20

# Why a token failed, if only time has to pass (glisk.errors).
PASSING_CLASSES = frozenset({"rate_limited", "transient", "unknown_outcome", "not_sent"})

_OPEN = [status.value for status in OPEN_JOB_STATUSES]


@dataclass(frozen=True)
class Claim:
    """A claimed token as it stood at the moment of the claim."""

    token_id: int
    lease_number: int
    attempts: int
    prompt: str
    generation_attempts: int
    fallback_used: bool


@dataclass(frozen=True, kw_only=True)
class JobClaim(Claim):
    """A claimed token with the open job by which it was found."""

    job: ImageGenerationJob


C = TypeVar("C", bound=Claim)

_DUE = "(t.next_attempt_at IS NULL OR t.next_attempt_at <= clock_timestamp())"
_CLAIM = """
    t.token_id, t.lease_number, t.attempts, t.prompt, t.generation_attempts, t.fallback_used
"""
# The columns of a job that the steps go on with.
_JOB = (
    "id", "token_id", "prompt", "input", "service", "model", "attempt_number", "status",
    "external_id", "output_url", "error_class", "error", "looks", "look_at", "created_at",
)  # fmt: skip


def claim_for_generation(*, owner: str, limit: int) -> list[Claim]:
    """Claim the oldest tokens that want an image and have no open job; mark new ones."""
    chosen = f"""
        SELECT token_id, status AS was FROM tokens_s0 t
        WHERE status IN ('detected', 'generating') AND lease_owner IS NULL
          AND held_at IS NULL AND {_DUE}
          -- No EXISTS: it may be hashed, which reads the open jobs of all tokens.
          AND (SELECT true FROM image_generation_jobs j
               WHERE j.token_id = t.token_id AND j.status || '' = ANY(%s) LIMIT 1) IS NULL
        ORDER BY mint_timestamp, token_id LIMIT %s FOR UPDATE SKIP LOCKED
    """  # noqa: S608 - no value is formatted in
    rows = _take(chosen, [_OPEN, limit], status=TokenStatus.GENERATING, owner=owner)
    return _set_aside([Claim(*row) for row in rows], source=TokenStatus.GENERATING, owner=owner)


def claim_jobs(
    *,
    owner: str,
    limit: int,
    statuses: Collection[JobStatus],
    service: JobService | None = None,
    looked_for: bool = False,
) -> list[JobClaim]:
    """Claim tokens by the open job that they have; held ones too, since it may be paid for.

    `looked_for`: only jobs whose next look is due. Both rows are locked, so that both conditions
    are those of the newest versions.
    """
    chosen = f"""
        SELECT t.token_id, t.status AS was, {", ".join(f"j.{n} AS j_{n}" for n in _JOB)}
        FROM image_generation_jobs j JOIN tokens_s0 t ON t.token_id = j.token_id
        WHERE j.status = ANY(%s) AND j.service = ANY(%s)
          AND t.status || '' IN ('detected', 'generating') AND t.lease_owner IS NULL AND {_DUE}
          AND (NOT %s OR j.look_at IS NULL OR j.look_at <= clock_timestamp())
        ORDER BY j.look_at NULLS FIRST, j.id LIMIT %s FOR UPDATE OF t, j SKIP LOCKED
    """  # noqa: S608 - our own names
    services = [service.value] if service else JobService.values
    parameters = [[status.value for status in statuses], services, looked_for, limit]
    columns = "".join(f", c.j_{name}" for name in _JOB)
    claims = []
    for row in _take(
        chosen, parameters, status=TokenStatus.GENERATING, owner=owner, columns=columns
    ):
        facts = dict(zip(_JOB, row[-len(_JOB) :], strict=True))
        facts["input"] = json.loads(facts["input"])
        claims.append(JobClaim(*row[: -len(_JOB)], job=ImageGenerationJob(**facts)))
    return _set_aside(claims, source=TokenStatus.GENERATING, owner=owner)


def claim_for_upload(*, owner: str, limit: int) -> list[Claim]:
    """Claim the oldest tokens whose image waits for its upload."""
    chosen = f"""
        SELECT token_id, status AS was FROM tokens_s0 t
        WHERE status = 'uploading' AND lease_owner IS NULL AND held_at IS NULL AND {_DUE}
        ORDER BY mint_timestamp, token_id LIMIT %s FOR UPDATE SKIP LOCKED
    """  # noqa: S608 - no value is formatted in
    rows = _take(chosen, [limit], status=TokenStatus.UPLOADING, owner=owner)
    return _set_aside([Claim(*row) for row in rows], source=TokenStatus.UPLOADING, owner=owner)


def _take(
    chosen: str, parameters: list[Any], *, status: TokenStatus, owner: str, columns: str = ""
) -> list[tuple[Any, ...]]:
    """Lease the tokens that a query chooses, in a status that may be new to them."""
    return _fetch(
        f"""
        WITH c AS MATERIALIZED ({chosen}), claimed AS (
            UPDATE tokens_s0 t
            SET status = %s, lease_owner = %s,
                lease_expires_at = clock_timestamp() + make_interval(secs => %s),
                lease_number = t.lease_number + 1, attempts = t.attempts + 1,
                next_attempt_at = NULL, status_changed_at =
                    CASE WHEN c.was = %s THEN t.status_changed_at ELSE clock_timestamp() END
            FROM c WHERE t.token_id = c.token_id RETURNING {_CLAIM}, t.status, c.was
        ), noted AS (
            INSERT INTO token_transitions
                (token_id, from_status, to_status, reason, attempt, actor, detail, created_at)
            SELECT token_id, was, status, '', attempts, %s, '{{}}', clock_timestamp()
            FROM claimed WHERE was <> status
        )
        SELECT {_CLAIM}{columns} FROM claimed t JOIN c USING (token_id) ORDER BY token_id
        """,  # noqa: S608 - no value is formatted in
        [*parameters, status.value, owner, settings.LEASE_SECONDS, status.value, owner],
    )


def _set_aside(claims: list[C], *, source: TokenStatus, owner: str) -> list[C]:
    """Fail the tokens whose workers died again and again; return the others."""
    killers = [claim for claim in claims if claim.attempts > MAX_CLAIMS]
    why = f"Its worker died {MAX_CLAIMS} times: look at the workers' logs, then retry."
    fail_tokens([(claim, why, "stalled") for claim in killers], source=source, owner=owner)
    return [claim for claim in claims if claim not in killers]


def count_generation_attempts(token_ids: Collection[int], *, owner: str) -> None:
    """Count a call for an image of each of these claimed tokens, before it is made."""
    if not token_ids:
        return
    _execute(
        "UPDATE tokens_s0 SET generation_attempts = generation_attempts + 1 "
        "WHERE token_id = ANY(%s) AND lease_owner = %s",
        [list(token_ids), owner],
    )


def resume_generation(token_id: int, *, paid_calls: int, prompt: str, fallback_used: bool) -> None:
    """Have a token wait for calls that its database had forgotten, made with this prompt."""
    Token.objects.filter(
        pk=token_id, status__in=[TokenStatus.DETECTED, TokenStatus.GENERATING]
    ).update(
        generation_attempts=F("generation_attempts") + paid_calls,
        prompt=prompt,
        fallback_used=fallback_used,
        next_attempt_at=None,
    )


def seconds_until_next_attempt(*statuses: TokenStatus) -> float | None:
    """Return the seconds until the next waiting token falls due; those that are do not count."""
    seconds = _fetch(
        "SELECT EXTRACT(EPOCH FROM min(next_attempt_at) - clock_timestamp())::float8 "
        "FROM tokens_s0 WHERE status = ANY(%s) AND lease_owner IS NULL AND held_at IS NULL "
        "AND next_attempt_at > clock_timestamp()",
        [[status.value for status in statuses]],
    )[0][0]
    return None if seconds is None else max(0.0, float(seconds))


def renew_leases(*, owner: str, token_ids: Collection[int]) -> int:
    """Prolong the leases of the tokens that the owner knows it works on; return how many.

    A claim whose commit the owner never heard of is not among them: it runs out by itself.
    """
    until = Now() + timedelta(seconds=settings.LEASE_SECONDS)
    return Token.objects.filter(lease_owner=owner, pk__in=token_ids).update(lease_expires_at=until)


def give_back(claims: Collection[Claim], *, owner: str, why: str | None = None) -> int:
    """Let claimed tokens go in order: not counted, stored ids stay. `why` they wait is shown."""
    if not claims:
        return 0
    return _execute(
        "UPDATE tokens_s0 t SET lease_owner = NULL, lease_expires_at = NULL, "
        "attempts = GREATEST(t.attempts - 1, 0), "
        "generation_error = COALESCE(%s, t.generation_error) "
        "FROM unnest(%s::bigint[], %s::integer[]) AS v(token_id, lease_number) "
        "WHERE t.token_id = v.token_id AND t.lease_owner = %s AND t.lease_number = v.lease_number",
        [why, [c.token_id for c in claims], [c.lease_number for c in claims], owner],
    )


def still_ours(claims: Collection[C], *, owner: str) -> list[C]:
    """Return the claims that hold, locked to the transaction's end: tokens before their jobs."""
    tokens = Token.objects.filter(pk__in=[claim.token_id for claim in claims], lease_owner=owner)
    held = set(tokens.order_by("pk").select_for_update().values_list("pk", "lease_number"))
    return [claim for claim in claims if (claim.token_id, claim.lease_number) in held]


def free_all_but(token_ids: Collection[int], *, owner: str) -> int:
    """Free what an owner holds besides these: the answer to a claim's commit may be lost."""
    return _free(Token.objects.filter(lease_owner=owner).exclude(pk__in=token_ids))


def release_leases_of(prefix: str) -> int:
    """Free the tokens of a process tree that died."""
    return _free(Token.objects.filter(lease_owner__startswith=prefix))


def rescue_stalled() -> int:
    """Free the tokens whose lease ran out."""
    return _free(Token.objects.filter(lease_owner__isnull=False, lease_expires_at__lt=Now()))


def _free(tokens: QuerySet[Token]) -> int:
    """Let go: the attempt stays counted; stage and stored ids stay, so that work resumes."""
    return tokens.update(lease_owner=None, lease_expires_at=None)


@dataclass(frozen=True)
class Retry:
    """One token that waits. `counted`: the failed attempt goes into the log and timeline.

    While the vendor is down for everybody it does not: an outage of hours must not fill them.
    """

    claim: Claim
    error: str
    error_class: str
    wait_seconds: float
    counted: bool = True
    generation_attempts: int | None = None
    fallback_used: bool | None = None
    detail: dict[str, Any] = field(default_factory=dict)


def retry_later(retries: Sequence[Retry], *, owner: str) -> set[int]:
    """Release leased tokens until their next attempt; return those that were still ours."""
    if not retries:
        return set()
    rows = [
        {
            **{name: value for name, value in vars(retry).items() if name != "claim"},
            "token_id": retry.claim.token_id,
            "lease_number": retry.claim.lease_number,
            "entry": {"error_class": retry.error_class, "error": retry.error, **retry.detail},
        }
        for retry in retries
    ]
    sql = """
        WITH released AS (
            UPDATE tokens_s0 t
            SET lease_owner = NULL, lease_expires_at = NULL,
                next_attempt_at = clock_timestamp() + make_interval(secs => v.wait_seconds),
                attempts = GREATEST(t.attempts - 1, 0),
                generation_attempts = COALESCE(v.generation_attempts, t.generation_attempts),
                fallback_used = COALESCE(v.fallback_used, t.fallback_used),
                generation_error = v.error, error_class = v.error_class,
                error_log = CASE WHEN v.counted THEN t.error_log || v.entry ELSE t.error_log END,
                updated_at = clock_timestamp()
            FROM json_to_recordset(%s::json)
                AS v(token_id bigint, lease_number integer, wait_seconds float8, error text,
                     error_class text, counted boolean, generation_attempts integer,
                     fallback_used boolean, detail jsonb, entry jsonb)
            WHERE t.token_id = v.token_id AND t.lease_owner = %s AND t.lease_number = v.lease_number
            RETURNING t.token_id, t.status, v.error, v.counted, v.detail, t.generation_attempts
        ), noted AS (
            INSERT INTO token_transitions
                (token_id, from_status, to_status, reason, attempt, actor, detail, created_at)
            SELECT token_id, status, status, error, generation_attempts, %s, detail,
                   clock_timestamp()
            FROM released WHERE counted
        )
        SELECT token_id FROM released
    """
    released = {token_id for (token_id,) in _fetch(sql, [as_json(rows), owner, owner])}
    for retry in retries:
        if retry.claim.token_id in released:
            transaction.on_commit(partial(count_retry, retry.error_class))
    return released


Result = tuple[Claim, dict[str, Any], dict[str, Any]]


def finish(
    results: Sequence[Result], *, source: TokenStatus, target: TokenStatus, owner: str
) -> set[int]:
    """Move claimed tokens on, with new columns and a detail; return those that were still ours."""
    moves = [
        Move(
            token_id=claim.token_id,
            attempts=claim.attempts,
            lease_number=claim.lease_number,
            fields={"generation_error": None, "error_class": "", **fields},
            detail=detail,
        )
        for claim, fields, detail in results
    ]
    return move_tokens(moves, source=source, target=target, actor=owner, lease_owner=owner)


def fail_tokens(
    lost: Sequence[tuple[Claim, str, str]], *, source: TokenStatus, owner: str
) -> set[int]:
    """Give claimed tokens up, each with what to do and a class; return those still ours.

    One that failed for a passing reason says when it is taken up again (tokens.repairs.retry).
    """
    if not lost:
        return set()
    for claim, why, error_class in lost:
        logger.error("token_failed", token_id=claim.token_id, error_class=error_class, reason=why)
    moves = [
        Move(
            token_id=claim.token_id,
            attempts=claim.attempts,
            lease_number=claim.lease_number,
            reason=why,
            fields={"generation_error": why, "error_class": error_class},
        )
        for claim, why, error_class in lost
    ]
    failed = move_tokens(
        moves, source=source, target=TokenStatus.FAILED, actor=owner, lease_owner=owner
    )
    passing = [claim.token_id for claim, _, kind in lost if kind in PASSING_CLASSES]
    if waiting := failed.intersection(passing):
        # Behind the array's end there is NULL: then a person is needed.
        _execute(
            "UPDATE tokens_s0 SET next_attempt_at = clock_timestamp() "
            "+ make_interval(secs => (%s::float8[])[automatic_retries + 1]) "
            "WHERE token_id = ANY(%s)",
            [settings.RETRY_FAILED_AFTER_SECONDS, list(waiting)],
        )
    return failed


@dataclass(frozen=True)
class Refusal:
    """Why a ready token may not be revealed now.

    `final`: waiting cannot mend it. `counted`: the token itself is at fault, as far as one can
    tell, so that it waits longer each time; an outage or a lagging node says nothing about it.
    """

    token_id: int
    reason: str
    error_class: str
    final: bool = False
    wait_seconds: float = 0.0
    counted: bool = False
    alarming: bool = False  # it has lasted for long: an operator should look


def postpone_reveals(refusals: Sequence[Refusal], *, actor: str) -> None:
    """Let ready tokens wait; a reason that is new goes into the timeline, once."""
    _execute(
        """
        WITH postponed AS (
            UPDATE tokens_s0 t
            -- One moment for all: what waits equally long comes back together.
            SET next_attempt_at = statement_timestamp() + make_interval(secs => v.wait_seconds),
                attempts = t.attempts + CASE WHEN v.counted THEN 1 ELSE 0 END,
                generation_error = v.reason, error_class = v.error_class,
                updated_at = clock_timestamp()
            FROM json_to_recordset(%s::json)
                AS v(token_id bigint, wait_seconds float8, counted boolean, reason text,
                     error_class text)
            -- Joined here, what was there is read before it is overwritten.
            JOIN (
                SELECT token_id, error_class FROM tokens_s0
                WHERE token_id = ANY(%s) AND status = 'ready' FOR UPDATE
            ) AS b USING (token_id)
            WHERE t.token_id = v.token_id AND t.status = 'ready'
            RETURNING t.token_id, t.attempts, v.reason, v.error_class, b.error_class AS was
        )
        INSERT INTO token_transitions
            (token_id, from_status, to_status, reason, attempt, actor, detail, created_at)
        SELECT p.token_id, 'ready', 'ready', p.reason, p.attempts, %s, '{}', clock_timestamp()
        FROM postponed p WHERE p.was <> p.error_class
        """,
        [as_json(vars(r) for r in refusals), [r.token_id for r in refusals], actor],
    )


def forget_refusals(token_ids: Collection[int], *, but: str) -> None:
    """Count the attempts of ready tokens anew, unless the last refusal was of the class `but`."""
    Token.objects.filter(token_id__in=token_ids, status=TokenStatus.READY, attempts__gt=0).exclude(
        error_class=but
    ).update(attempts=0)


def delay_mints(mint_event_ids: Sequence[int], *, seconds: float) -> None:
    """Let nothing new begin for the tokens of these mints for a while.

    What runs may end, and an image that may be paid for is collected: the vendor deletes it.
    """
    waiting = Token.objects.filter(
        mint_event__in=mint_event_ids, lease_owner=None, status__in=ACTIVE
    ).exclude(generation_jobs__status__in=OPEN_JOB_STATUSES)
    until = Now() + timedelta(seconds=seconds)
    waiting.update(next_attempt_at=Greatest("next_attempt_at", until))


def forget_delay(token_ids: Collection[int], *, status: TokenStatus) -> None:
    """Let tokens in a state wait for no moment: failed ones then wait for a person."""
    Token.objects.filter(pk__in=token_ids, status=status).update(
        next_attempt_at=None, updated_at=Now()
    )


def hold(token_id: int, *, reason: str) -> None:
    """Let nothing new begin for a token until it is released."""
    Token.objects.filter(pk=token_id).update(held_at=Now(), hold_reason=reason, updated_at=Now())


def release_hold(token_id: int) -> None:
    Token.objects.filter(pk=token_id).update(held_at=None, hold_reason="", updated_at=Now())


def _fetch(sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _execute(sql: str, parameters: list[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)
