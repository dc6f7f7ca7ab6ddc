"""Compare every token with the contract in pieces, as an operator asks for it.

A provider that counts calls lets a few thousand tokens an hour through: longer than a task may
run. What is known so far is kept between the pieces; the report of all of them comes at the end.
"""

from __future__ import annotations

import time
from dataclasses import asdict

from django.db import transaction

from glisk.clients.mint_reader import MintReader
from glisk.models import SystemState
from tokens.recovery.drift import DriftReport, begin_check, compare_pages, keep, read_report

KEY = "comparison"


def compare_piece(
    reader: MintReader, *, since_id: int, budget_seconds: float
) -> tuple[DriftReport, int | None]:
    """Compare for some seconds; return what differs so far and where to go on, None at the end.

    `since_id` 1 begins anew. A piece that another comparison has left behind ends at once, with
    an empty report. Raises the errors of the reader.
    """
    until = time.monotonic() + budget_seconds
    report = begin_check(reader) if since_id <= 1 else _report_so_far(since_id)
    if report is None:
        return DriftReport(), None
    following = compare_pages(reader, report, since_id=since_id, repair=False, until=until)
    if following is not None:
        SystemState.put(KEY, {"below": following, "report": asdict(report)})
        return report, following
    report.complete = True
    with transaction.atomic():
        SystemState.objects.filter(state_key=KEY).delete()
        return keep(report), None


def _report_so_far(since_id: int) -> DriftReport | None:
    row = SystemState.objects.filter(state_key=KEY).values_list("state_value", flat=True).first()
    if row is None or row.get("below") != since_id:
        return None
    return read_report(row.get("report"))
