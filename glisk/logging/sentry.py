"""Errors of the log, reported to Sentry: what the log says, redacted, and nothing else.

None of Sentry's integrations is on, so no request, body, cookie, header or local variable is looked
at: an event is a line of the log from ERROR on, its fields, and the stack of its exception.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from glisk import __version__
from glisk.logging.redaction import exception_of, redact_value

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint


class SentryHandler(logging.Handler):
    """Reports what it is given to the project of a DSN, in the background.

    What Sentry does not take (it is away, too many wait) is dropped: the log has it.
    """

    def __init__(self, *, dsn: str, environment: str) -> None:
        super().__init__()
        import sentry_sdk
        from sentry_sdk.integrations.atexit import AtexitIntegration

        sentry_sdk.init(
            dsn=dsn,
            environment=environment,
            release=f"glisk@{__version__}",
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[AtexitIntegration(callback=lambda pending, timeout: None)],
            include_local_variables=False,
            max_request_body_size="never",
            debug=False,  # whatever SENTRY_DEBUG says: it would print events raw
            spotlight=False,
            max_breadcrumbs=0,
            auto_session_tracking=False,
            send_client_reports=False,
            before_send=_redact,
        )

    def emit(self, record: logging.LogRecord) -> None:
        import sentry_sdk
        from sentry_sdk.utils import event_from_exception

        try:
            # structlog hands its fields on as the message (wrap_for_formatter).
            given: Any = record.msg
            fields = dict(given) if isinstance(given, dict) else {"event": record.getMessage()}
            error = exception_of(fields.pop("exc_info", None) or record.exc_info)
            event: Event = {}
            if error is not None:
                options = sentry_sdk.get_client().options
                event, _ = event_from_exception(error, client_options=options)
            event["level"] = "fatal" if record.levelno >= logging.CRITICAL else "error"
            event["logger"] = record.name
            event["logentry"] = {"message": str(fields.pop("event", "")), "params": []}
            event["extra"] = fields
            sentry_sdk.capture_event(event)
        except Exception:  # noqa: BLE001 - a handler never stops what is logged
            self.handleError(record)


def _redact(event: Event, hint: Hint) -> Event:
    redacted: Event = redact_value(event)
    return redacted
