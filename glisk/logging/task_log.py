"""What django-q2 says of a task that failed, in the form of our own records.

It writes one text with the traceback in it, as an error, even when the database was restarted.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

from django.db import InterfaceError, OperationalError

_QUEUE_LOGGER = "django-q"
_FAILED = re.compile(r"Failed '(?P<task>[^']+)' \((?P<name>[^)]*)\) - (?P<result>.*)", re.DOTALL)
_TRACEBACK = " : Traceback (most recent call last):"
_DATABASE_AWAY = (OperationalError, InterfaceError)
_AWAY_NAMES = tuple(f"django.db.utils.{kind.__name__}" for kind in _DATABASE_AWAY)
_ADVICE = "The database was away; the schedules start the work again."


def name_failed_tasks(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Give a failed task its fields, and one that the database interrupted no traceback."""
    if event_dict.get("logger") != _QUEUE_LOGGER:
        return event_dict
    failed = _FAILED.fullmatch(str(event_dict.get("event", "")))
    if failed:
        return _task_failed(event_dict, failed["task"], failed["result"])
    error = _error_of(event_dict.get("exc_info"))
    if isinstance(error, _DATABASE_AWAY):
        del event_dict["exc_info"]
        return _interrupted(event_dict, str(error))
    return event_dict


def _task_failed(
    event_dict: MutableMapping[str, Any], task: str, result: str
) -> MutableMapping[str, Any]:
    error, mark, rest = result.partition(_TRACEBACK)
    traceback = (mark.removeprefix(" : ") + rest).rstrip()
    event_dict.update(event="task_failed", task=task, error=error)
    if any(line.startswith(_AWAY_NAMES) for line in traceback.splitlines()):
        event_dict["event"] = "task_interrupted"
        return _interrupted(event_dict, error)
    if traceback:
        event_dict["exception"] = traceback
    return event_dict


def _interrupted(event_dict: MutableMapping[str, Any], error: str) -> MutableMapping[str, Any]:
    event_dict.update(level="warning", error=error.strip(), advice=_ADVICE)
    return event_dict


def _error_of(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, tuple):
        return exc_info[1] if len(exc_info) > 1 else None
    return exc_info if isinstance(exc_info, BaseException) else None
