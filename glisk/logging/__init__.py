"""Structured logs: a console form in development, JSON in production, secrets cut out.

Every record, our own and the libraries', warnings and uncaught exceptions too, passes through
the same processors, and the last one before rendering redacts; there is no way around it (see
glisk/logging/redaction.py).
"""

import logging
import re
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, TextIO

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
_CONTROL_CHARACTERS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL_CHARACTERS[ord("\n")] = "\\n"
_QUEUE_LOGGER = "django-q"
_FAILED = re.compile(r"Failed '(?P<task>[^']+)' \((?P<name>[^)]*)\) - (?P<result>.*)", re.DOTALL)
_TRACEBACK = " : Traceback (most recent call last):"
_DATABASE_AWAY = (OperationalError, InterfaceError)
_AWAY_NAMES = tuple(f"django.db.utils.{kind.__name__}" for kind in _DATABASE_AWAY)
_ADVICE = "The database was away; the schedules start the work again."


def logging_settings(*, level: str, json: bool) -> dict[str, Any]:
    """Return Django's LOGGING and set structlog up to hand its records to it."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_BEFORE,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    _catch_what_is_not_logged()
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
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": formatter},
        "handlers": {"stderr": {"()": PipelineHandler, "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            # A warning for every 404 would be written by whoever scans the server.
            "django.request": {"level": "ERROR"},
            "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
            # It warns of every HEAD request: the server drops the body that Django gives it.
            "gunicorn.http.wsgi": {"level": "ERROR"},
            "urllib3": {"level": "WARNING"},
            "httpx": {"level": "WARNING"},
            "web3": {"level": "WARNING"},
            "django-q": {"handlers": [], "level": "WARNING", "propagate": True},
        },
    }


class PipelineHandler(logging.StreamHandler[TextIO]):
    """Write to stderr; a record that cannot be formatted is named without its arguments.

    The standard library would print those raw, which no redaction sees.
    """

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name there
        message = f"unformattable log record: {record.msg}"
        where = (record.name, record.levelno, record.pathname, record.lineno)
        try:
            named = logging.LogRecord(*where, message, None, None)
            self.stream.write(self.format(named) + self.terminator)
            self.flush()
        except Exception:  # noqa: BLE001, S110 - stderr itself is gone: nowhere to tell
            pass


def _catch_what_is_not_logged() -> None:
    """Send warnings and uncaught exceptions, which Python would print raw, down the pipeline."""
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger("glisk").critical("uncaught_exception", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)


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
    if event_dict.get("logger") != _QUEUE_LOGGER:
        return event_dict
    failed = _FAILED.fullmatch(str(event_dict.get("event", "")))
    if failed:
        return _task_failed(event_dict, failed["task"], failed["result"])
    error = exception_of(event_dict.get("exc_info"))
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
