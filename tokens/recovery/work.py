"""The work under way for tokens of which the chain says something new: find it, end it, hold it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import connection

from tokens.models.job import OPEN_JOB_STATUSES


def in_flight(token_ids: Iterable[int]) -> set[int]:
    """Return those of the tokens that an open transaction of ours reveals."""
    ids = list(token_ids)
    if not ids:
        return set()
    with connection.cursor() as cursor:
        # reveals' table by its name: tokens may not import reveals.
        cursor.execute(
            "SELECT token_id FROM reveal_batch_tokens WHERE is_open AND token_id = ANY(%s)",
            [ids],
        )
        return {row[0] for row in cursor.fetchall()}


def perhaps_revealed(token_ids: Iterable[int]) -> set[int]:
    """Return those of the tokens that a transaction of ours reveals, or may yet reveal.

    One whose transaction was reverted or superseded is among them until no reorg reaches that any
    more: the same bytes may be mined in another block.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT i.token_id FROM reveal_batch_tokens i "
            "JOIN reveal_batches b ON b.id = i.batch_id "
            "WHERE i.token_id = ANY(%s) AND (i.is_open OR b.settled_at IS NULL)",
            [list(token_ids)],
        )
        return {row[0] for row in cursor.fetchall()}


def close_jobs_of(token_ids: Sequence[int], *, why: str) -> None:
    """End the open generation jobs of tokens; ids and costs stay in the books.

    A call whose reply has not come yet is closed as rejected: should the vendor have accepted it,
    its id and cost are entered all the same (tokens.pipeline.completions), and nothing else
    follows.
    """
    if not token_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE image_generation_jobs SET "
            "status = CASE status WHEN 'created' THEN 'rejected' ELSE 'failed' END, "
            "error_class = 'withdrawn', error = %s, completed_at = clock_timestamp() "
            "WHERE token_id = ANY(%s) AND status = ANY(%s)",
            [why, list(token_ids), [str(status.value) for status in OPEN_JOB_STATUSES]],
        )
