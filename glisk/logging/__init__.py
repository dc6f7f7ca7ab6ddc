"""Structured logs: a console form in development, JSON in production, secrets cut out.

Every record, our own and the libraries', warnings and uncaught exceptions too, passes through
the same processors, and the last one before rendering redacts; there is no way around it (see
glisk/logging/redaction.py).
"""

import logging
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError

from glisk.logging.redaction import exception_of, redact_processor

_BEFORE: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]
# One list however often it is configured: loggers that were used before keep it.
_OWN: list[Any] = [
    structlog.stdlib.filter_by_level,
    *_BEFORE,
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]
_CONTROL_CHARACTERS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL_CHARACTERS[ord("\n")] = "\\n"
_FAILED = re.compile(r"Failed '(?P<task>[^']+)' \((?P<name>[^)]*)\) - (?P<result>.*)", re.DOTALL)
_TRACEBACK = " : Traceback (most recent call last):"
_DATABASE_AWAY = (OperationalError, InterfaceError)
_AWAY_NAMES = tuple(f"django.db.utils.{kind.__name__}" for kind in _DATABASE_AWAY)
_ADVICE = "The database was away; the schedules start the work again."


def logging_settings(
    *, level: str, json: bool, sentry: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return Django's LOGGING and set structlog up to hand its records to it.

    `sentry` are the arguments of its handler, if errors are to be reported there.
    """
    structlog.configure(
        processors=_OWN,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    # A record that cannot be formatted would be reported with its arguments raw.
    logging.raiseExceptions = False
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(*args[:3])
    console = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=28)
    rendering = [structlog.processors.JSONRenderer()] if json else [_keep_to_one_line, console]
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": _BEFORE,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            name_failed_tasks,
            structlog.processors.format_exc_info,
            redact_processor,
            *rendering,
        ],
    }
    handlers: dict[str, dict[str, Any]] = {
        "stderr": {"class": "logging.StreamHandler", "formatter": "structured"},
        "nowhere": {"class": "logging.NullHandler"},
    }
    if sentry:
        kind = "glisk.logging.sentry.SentryHandler"
        handlers["sentry"] = {"class": kind, "level": "ERROR", **sentry}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": formatter},
        "handlers": handlers,
        "root": {"handlers": ["stderr", "sentry"] if sentry else ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            # A warning for every 404 would be written by whoever scans the server.
            "django.request": {"level": "ERROR"},
            "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
            # It warns of every HEAD request: the server drops the body that Django gives it.
            "gunicorn.http.wsgi": {"level": "ERROR"},
            "urllib3": {"level": "WARNING"},
            # Its warnings are read by who calls it (glisk.console.alerts).
            "apprise": {"level": "WARNING", "handlers": ["nowhere"], "propagate": False},
            # By debug they tell a session's token; the breaker tells what fails.
            "boto3": {"level": "WARNING"},
            "botocore": {"level": "WARNING"},
            "httpx": {"level": "WARNING"},
            "web3": {"level": "WARNING"},
            "django-q": {"handlers": [], "level": "WARNING", "propagate": True},
        },
    }


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    """Log what Python would print raw."""
    if error is None or issubclass(kind, KeyboardInterrupt | SystemExit):
        sys.__excepthook__(kind, error or kind(), traceback)
        return
    logging.getLogger("glisk").critical("uncaught_exception", exc_info=(kind, error, traceback))


def _keep_to_one_line(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Let no message from outside begin a line of its own, or command the terminal."""
    event_dict["event"] = str(event_dict.get("event", "")).translate(_CONTROL_CHARACTERS)
    return event_dict


def name_failed_tasks(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Give a failed task its fields, and one that the database interrupted no traceback.

    django-q2 writes one text with the traceback in it, as an error, even when the database was
    restarted.
    """
    if event_dict.get("logger") != "django-q":
        return event_dict
    error = exception_of(event_dict.get("exc_info"))
    is_interrupted = isinstance(error, _DATABASE_AWAY)
    said = str(error)
    if failed := _FAILED.fullmatch(str(event_dict.get("event", ""))):
        said, mark, rest = failed["result"].partition(_TRACEBACK)
        traceback = (mark.removeprefix(" : ") + rest).rstrip()
        is_interrupted = any(line.startswith(_AWAY_NAMES) for line in traceback.splitlines())
        event_dict.update(event="task_failed", task=failed["task"], error=said)
        if is_interrupted:
            event_dict["event"] = "task_interrupted"
        elif traceback:
            event_dict["exception"] = traceback
    if is_interrupted:
        event_dict.pop("exc_info", None)
        event_dict.update(level="warning", error=said.strip(), advice=_ADVICE)
    return event_dict
