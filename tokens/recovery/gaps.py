"""Token ids that the contract has given out and the database does not know.

The contract numbers from 1 without gaps, so `nextTokenId` names every token there is. A missing
id lies between the mints of its neighbours, and so do the blocks where its log must be: those are
read. Only what no log explains is taken from the contract's facts alone.

Such tokens have no mint event: minter and time are stand-ins (the owner of now, the time of now)
until their log is found and registration completes them. The contract is asked at a block that has
MINT_CONFIRMATIONS, since nothing else would hold such a token back from its reveal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from glisk.clients.chain import Block, ChainClient, Survey
from glisk.fields import normalise_address
from tokens.models import Token
from tokens.recovery.adoption import FACTS_AT_ONCE, adopt, unknown_ids
from tokens.recovery.backfill import Report, backfill_if_given
from tokens.recovery.progress import load_progress
from tokens.transitions.chain import NewTokens, create_tokens

logger = structlog.get_logger(__name__)

# A neighbour's block may be one that a reorg has just replaced.
_MARGIN_BLOCKS = 16
ACTOR = "contract"


@dataclass
class GapReport(Report):
    """What logs told, and what the contract did."""

    next_token_id: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)  # what is missing, at the start
    from_facts: list[int] = field(default_factory=list)
    vanished: list[int] = field(default_factory=list)  # known here, not to the contract
    unread: list[str] = field(default_factory=list)  # ranges whose logs could not be read
    left: int = 0  # were asked for, and have no row yet

    @property
    def missing(self) -> int:
        return _count(self.ranges)


def missing_ranges(next_token_id: int, *, known_below: int = 1) -> list[tuple[int, int]]:
    """Return the missing ids below `next_token_id` as (first, last), by one query.

    Ids are counted by the thousand; only where some are missing is it asked which. That is one
    pass over the index, without the sort or the window of all ids that took several times as
    long. `known_below`: an id below which none is missing.
    """
    sql = """
        WITH short AS MATERIALIZED (
            SELECT first, last FROM (
                SELECT GREATEST(t * 1000, %(known)s) AS first,
                       LEAST(t * 1000 + 999, %(next)s - 1) AS last
                FROM generate_series(%(known)s / 1000, (%(next)s - 1) / 1000) AS t
            ) AS spans CROSS JOIN LATERAL (
                SELECT count(*) AS n FROM tokens_s0 WHERE token_id BETWEEN first AND last
            ) AS counted WHERE n <= last - first
        )
        SELECT min(id), max(id) FROM (
            SELECT id, id - row_number() OVER (ORDER BY id) AS run
            FROM short CROSS JOIN LATERAL (
                SELECT id FROM generate_series(first, last) AS id EXCEPT
                SELECT token_id FROM tokens_s0 WHERE token_id BETWEEN first AND last
            ) AS missing
        ) AS runs GROUP BY run
        ORDER BY 1
    """
    if next_token_id <= known_below:
        return []
    with connection.cursor() as cursor:
        cursor.execute(sql, {"next": next_token_id, "known": known_below})
        return [(int(first), int(last)) for first, last in cursor.fetchall()]


def vanished_tokens(next_token_id: int) -> list[int]:
    """Return tokens that the contract has not given out, at most a thousand."""
    beyond = Token.objects.filter(token_id__gte=next_token_id).order_by("token_id")
    return list(beyond.values_list("token_id", flat=True)[:1000])


def block_bounds(
    ranges: Sequence[tuple[int, int]], *, head: int, without: Sequence[int] = ()
) -> list[tuple[int, int]]:
    """Return for each range of ids the first and last block where its mints can be.

    They lie between the blocks of the neighbours' mints, since ids are given out in order.
    `without`: mint events that say nothing about the chain any more.
    """
    sql = """
        SELECT (SELECT block_number FROM mint_events
                WHERE start_token_id <= v.first AND id <> ALL (%(without)s)
                ORDER BY start_token_id DESC LIMIT 1) - %(margin)s,
               (SELECT block_number FROM mint_events
                WHERE start_token_id > v.last AND id <> ALL (%(without)s)
                ORDER BY start_token_id LIMIT 1) + %(margin)s
        FROM unnest(%(firsts)s::bigint[], %(lasts)s::bigint[]) AS v(first, last)
    """
    parameters: dict[str, Any] = {
        "firsts": [first for first, _ in ranges],
        "lasts": [last for _, last in ranges],
        "margin": _MARGIN_BLOCKS,
        "without": list(without),
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows = cursor.fetchall()
    bounds = []
    for before, after in rows:
        low = max(int(settings.CONTRACT_DEPLOYED_AT_BLOCK), before or 0)
        bounds.append((low, max(low, head if after is None else min(head, after))))
    return bounds


def fill_gaps(
    reader: ChainClient,
    *,
    survey: Survey | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    until: float = math.inf,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
    report: GapReport | None = None,
    unread: str = "",
) -> GapReport:
    """Find and register missing tokens; with a `limit` so many, and the rest of their mints.

    `survey` spares the first round trip, `until` ends the work in order after a moment of the
    monotonic clock, `unread` says why the logs cannot be read now: then only the contract is
    asked. Raises the errors of the reader; what was registered until then stays, and a
    `report` that was handed in tells of it. A second call does nothing, with one round trip.
    """
    report = report or GapReport()
    survey = survey or reader.survey()
    report.next_token_id = survey.next_token_id
    report.ranges = wanted = missing_ranges(survey.next_token_id)
    report.vanished = vanished_tokens(survey.next_token_id)
    if report.vanished:
        logger.error("tokens_unknown_to_chain", token_ids=report.vanished[:20])
    if dry_run or not wanted:
        return report
    if limit is not None and limit < report.missing:
        wanted = _cut(wanted, next(islice(_ids(wanted), limit - 1, None)))

    def tell() -> None:
        on_progress(report.created, _count(wanted))

    report.unread = [unread] if unread else []
    if not unread:
        report.unread = read_around(
            reader,
            wanted,
            head=survey.head.number,
            report=report,
            only_ids=None if limit is None else set(_ids(wanted)),
            until=until,
            on_piece=tell,
        )
    # What no log explained is taken from the contract. Where no log could be read, that may have
    # taken all the time: one piece is asked for all the same.
    ids, may_be_late = _ids(wanted), bool(report.unread)
    while part := list(islice(ids, FACTS_AT_ONCE)):
        unexplained = unknown_ids(part)
        if not unexplained:
            continue
        if time.monotonic() >= until and not may_be_late:
            report.ended_early = True
            break
        may_be_late = False
        created, adopted = register_from_contract(reader, unexplained, survey.head)
        report.from_facts += created
        report.created += len(created)
        report.adopted += adopted
        tell()
    report.left = _count(_cut(missing_ranges(survey.next_token_id), wanted[-1][1]))
    return report


def read_around(
    reader: ChainClient,
    ranges: Sequence[tuple[int, int]],
    *,
    head: int,
    report: Report,
    only_ids: Collection[int] | None = None,
    until: float = math.inf,
    on_piece: Callable[[], None] = lambda: None,
) -> list[str]:
    """Read the blocks where the mints of these ids can be; say which could not be read, and why.

    Raises the errors of the reader that have nothing to do with these blocks.
    """
    unread = []
    range_blocks = load_progress().range_blocks
    for low, high in _joined(block_bounds(ranges, head=head)):
        error = backfill_if_given(
            reader,
            first=low,
            last=high,
            head=head,
            report=report,
            range_blocks=range_blocks,
            keep_progress=False,
            only_ids=only_ids,
            until=until,
        )
        if error is not None:
            unread.append(f"blocks {low} to {high}: {error}")
        on_piece()
    return unread


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges of blocks in order, those that touch or overlap as one."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def _ids(ranges: Sequence[tuple[int, int]]) -> Iterator[int]:
    return (token_id for first, last in ranges for token_id in range(first, last + 1))


def _count(ranges: Sequence[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def _cut(ranges: Sequence[tuple[int, int]], highest: int) -> list[tuple[int, int]]:
    return [(first, min(last, highest)) for first, last in ranges if first <= highest]


def register_from_contract(
    reader: ChainClient, token_ids: Sequence[int], head: Block
) -> tuple[list[int], list[int]]:
    """Create the tokens that exist for long enough; return the ids created and those adopted.

    All by one batch of calls. Raises the errors of the reader.
    """
    confirmed = max(0, head.number - int(settings.MINT_CONFIRMATIONS) + 1)
    known = reader.tokens(token_ids, block=confirmed).values()
    facts = {token.token_id: token for token in known if token.exists}
    wanted = [
        NewTokens(
            mint_event_id=None,
            first_id=token.token_id,
            quantity=1,
            wallet=normalise_address(token.prompt_author),
            minter=normalise_address(token.owner),
            minted_at=head.mined_at,
            reason="found in the contract, without a log",
        )
        for token in facts.values()
    ]
    if not wanted:
        return [], []
    with transaction.atomic():
        with connection.cursor() as cursor:
            # As registration does by its insert: an author who registers now waits for us, and
            # then finds these tokens (tokens.minting.authorship).
            cursor.execute("LOCK TABLE mint_events IN ROW EXCLUSIVE MODE")
        created = create_tokens(wanted, actor=ACTOR).get(None, [])
        revealed = {i: facts[i] for i in created if facts[i].revealed}
        adopted = adopt(revealed, actor=ACTOR)
    return sorted(created), sorted(adopted)
