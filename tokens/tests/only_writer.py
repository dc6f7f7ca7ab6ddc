"""Nobody but tokens.transitions writes tokens or their timeline: watched while the tests run.

Every statement of this process passes here. The innermost function of this project that sent a
write must be one of tokens.transitions, or arrange a test.
"""

import re
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

_WRITE = re.compile(
    r'\b(?:UPDATE|INSERT\s+INTO|DELETE\s+FROM)\s+"?(?:tokens_s0|token_transitions)\b', re.IGNORECASE
)
_PROJECT = re.compile(r"(?:authors|glisk|reveals|tokens|webhooks)\.")
_WRITERS = re.compile(r"tokens\.transitions\.|.*(?:\.tests\.|\.factories$|\.migrations\.)")

_others: list[str] = []


def watch(
    execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    if _WRITE.search(str(sql)):
        frame: FrameType | None = sys._getframe(1)
        while frame and not _PROJECT.match(frame.f_globals.get("__name__", "")):
            frame = frame.f_back
        if frame and not _WRITERS.match(frame.f_globals["__name__"]):
            _others.append(f"{frame.f_globals['__name__']}.{frame.f_code.co_name}: {sql}")
    return execute(sql, params, many, context)


def _watch_connection(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    if watch not in connection.execute_wrappers:
        connection.execute_wrappers.append(watch)


connection_created.connect(_watch_connection, dispatch_uid="only_writer")


@pytest.fixture(autouse=True)
def _only_transitions_write_tokens() -> Iterator[None]:
    yield
    others, _others[:] = _others[:], []
    assert not others, "tokens are written by tokens.transitions only, not by " + "\n".join(others)
