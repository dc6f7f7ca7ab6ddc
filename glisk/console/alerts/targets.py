"""To whom alerts go: the addresses of the settings. They are secrets; rows hold their places."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from glisk.console.overview.causes import PAGE
from glisk.logging.redaction import redact_text

_LONGEST_ERROR = 300
_ANSWER_SECONDS = 20.0  # apprise waits for 4, and 4 for a connection


@dataclass(frozen=True)
class Target:
    """What waits for a place goes to the address that stands there when it is sent."""

    variable: str
    place: int
    url: str = field(repr=False)

    @property
    def key(self) -> str:
        return f"{self.variable} {self.place}"

    @property
    def label(self) -> str:
        """Name it to people: its variable, its place there, its scheme."""
        return f"{self.key} ({self.url.partition('://')[0].lower()[:20]})"


def targets() -> list[Target]:
    """Return every target once; one that stands in both variables gets everything."""
    found: dict[str, Target] = {}
    for name in ("ALERT_URLS", "ALERT_PAGE_URLS"):
        for place, url in enumerate(getattr(settings, name), 1):
            found.setdefault(url, Target(name, place, url))
    return list(found.values())


def targets_of(level: str) -> list[Target]:
    return [target for target in targets() if level == PAGE or target.variable == "ALERT_URLS"]


def not_understood() -> list[str]:
    """Return the labels of the targets that apprise cannot read."""
    return [target.label for target in targets() if _service(target) is None]


def send(target: Target, *, title: str, body: str, look: str) -> str:
    """Send a message; return why it was not accepted, or an empty text. Never raises.

    `look`: info, success, warning or failure (apprise's NotifyType, which chooses a colour).
    apprise says no more than yes or no; its warnings say why. An answer that comes too late counts
    as no: the message is sent again. An address may say how long is waited (`?cto=`, `?rto=`).
    """
    with _Warnings() as warnings:
        try:
            from apprise import NotifyFormat, NotifyType, OverflowMode

            if (service := _service(target)) is None:
                return "apprise does not understand this address"
            # Nobody is called by what a vendor or a prompt says ("@everyone").
            title, body = (text.replace("@", "@\u200b") for text in (title, body))
            accepted = service.notify(
                title=title,
                body=body,
                notify_type=NotifyType(look),
                body_format=NotifyFormat.TEXT,
                overflow=OverflowMode.TRUNCATE,
            )
        except Exception as error:  # noqa: BLE001 - a hundred services' code
            return redact_text(f"{type(error).__name__}: {error}")[:_LONGEST_ERROR]
    said = redact_text(" ".join(warnings.texts))[:_LONGEST_ERROR]
    return "" if accepted else said or "it was not accepted, and nothing says why"


def _service(target: Target) -> Any:
    from apprise import Apprise  # it loads the code of all its services: half a second

    service = Apprise.instantiate(target.url)
    if service is not None and "rto=" not in target.url:
        service.socket_read_timeout = _ANSWER_SECONDS
    return service


class _Warnings(logging.Handler):
    """What apprise warns of in this thread meanwhile."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if threading.get_ident() == self._thread:
            self.texts.append(record.getMessage())

    def __enter__(self) -> _Warnings:
        logging.getLogger("apprise").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)
