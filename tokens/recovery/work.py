"""The work under way for tokens of which the chain says something new: find it, end it, hold it."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from tokens.models.job import OPEN_JOB_STATUSES


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
