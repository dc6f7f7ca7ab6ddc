"""Rows as one JSON parameter, which `json_to_recordset` reads back in the database.

psycopg adapts each array of an `unnest` by itself, value by value, in Python. One JSON text is
written in C: saving a turn of the pipeline takes a third less CPU by it, and PostgreSQL's parsing
of it is not felt.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any


def as_json(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as one JSON array; times as ISO 8601."""
    return json.dumps(list(rows), default=datetime.isoformat)
