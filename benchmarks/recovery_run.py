"""One measured step of the recovery, inside the program: what it takes without Python's start.

python -m benchmarks.recovery_run recover_events     the management command, timed
python -m benchmarks.recovery_run missing_ids 1000001 5   the query for missing ids, so often
"""

from __future__ import annotations

import io
import json
import sys
import time

import django
from django.core.management import call_command
from django.db import connection


def main(arguments: list[str]) -> int:
    """Write what was measured to stdout as JSON; `seconds` is a list, one per repetition."""
    django.setup()
    connection.ensure_connection()
    name, *rest = arguments
    found = missing_ids(*map(int, rest)) if name == "missing_ids" else command(name)
    json.dump(found, sys.stdout)
    return 0


def command(name: str) -> dict[str, object]:
    printed = io.StringIO()
    started = time.perf_counter()
    call_command(name, stdout=printed)
    return {"seconds": [time.perf_counter() - started], "printed": printed.getvalue()}


def missing_ids(next_token_id: int, times: int) -> dict[str, object]:
    from tokens.recovery.gaps import missing_ranges

    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        ranges = missing_ranges(next_token_id)
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds, "missing": sum(last - first + 1 for first, last in ranges)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
