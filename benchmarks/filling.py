"""Rows that the database makes by itself: one INSERT … SELECT a table, while indexes are away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.db.models import Model

SECONDS = 20  # from one token to the next

_UNDER_WAY = 2_000
_AUTHOR = "1 + (({}) * 7919) % {authors}"
_AT = "now() - ({tokens} - ({})) * interval '{seconds} s'"
_STATUS = """CASE
    WHEN id > {tokens} - {way} / 5 THEN 'detected'
    WHEN id > {tokens} - 2 * {way} / 5 THEN 'generating'
    WHEN id > {tokens} - 3 * {way} / 5 THEN 'uploading'
    WHEN id > {tokens} - {way} THEN 'ready'
    WHEN id % 100 = 37 THEN 'failed'
    ELSE 'revealed' END"""


class Filler:
    """Inserts rows of models on one connection; numbers are those of the options."""

    def __init__(self, execute: Any, *, tokens: int, authors: int, reveals: int) -> None:
        self.execute = execute
        self.tokens, self.authors = tokens, authors
        self.seconds: dict[str, float] = {}
        self.batch = -(-tokens // reveals)
        self.way = min(_UNDER_WAY, tokens // 5 // self.batch * self.batch)

    @property
    def status(self) -> str:
        return _STATUS.format(tokens=self.tokens, way=self.way)

    def author(self, event: str) -> str:
        return _AUTHOR.format(event, authors=self.authors)

    def at(self, token: str) -> str:
        return _AT.format(token, tokens=self.tokens, seconds=SECONDS)

    def insert(self, model: type[Model], source: str, /, **columns: str) -> None:
        """Insert a row of `model` for each row of `source`; what is not given has its default."""
        given = dict(columns)
        for field in model._meta.local_concrete_fields:
            column = str(field.column)
            if column not in given and field.get_internal_type() != "BigAutoField":
                given[column] = _default(field)
        names, values = ", ".join(given), ", ".join(given.values())
        started = time.perf_counter()
        self.execute(f"INSERT INTO {model._meta.db_table} ({names}) SELECT {values} FROM {source}")
        self.seconds[model._meta.db_table] = time.perf_counter() - started


def _default(field: Any) -> str:
    if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
        return "now()"
    if field.null:
        return "NULL"
    value = field.get_default()
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, list | dict):
        return f"'{json.dumps(value)}'"
    if isinstance(value, str):
        return f"'{value}'"
    raise TypeError(f"{field} needs a value")


@contextmanager
def without_indexes(cursor: Any, seconds: dict[str, float]) -> Iterator[None]:
    """Drop all indexes but the primary keys', and build them anew at the end."""
    cursor.execute(
        "SELECT c.conrelid::regclass, quote_ident(c.conname), pg_get_constraintdef(c.oid) "
        "FROM pg_constraint c WHERE c.contype = 'u' AND c.connamespace = 'public'::regnamespace "
        "AND NOT EXISTS (SELECT FROM pg_constraint f WHERE f.contype = 'f' "
        "AND f.conindid = c.conindid)"
    )
    constraints = cursor.fetchall()
    for table, name, _ in constraints:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    cursor.execute(
        "SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index i "
        "JOIN pg_class t ON t.oid = i.indrelid "
        "WHERE t.relnamespace = 'public'::regnamespace AND NOT EXISTS "
        "(SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)"
    )
    indexes = cursor.fetchall()
    for name, _ in indexes:
        cursor.execute(f"DROP INDEX {name}")
    yield
    started = time.perf_counter()
    for _, definition in indexes:
        cursor.execute(definition)
    for table, name, definition in constraints:
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
    seconds["indexes"] = time.perf_counter() - started
