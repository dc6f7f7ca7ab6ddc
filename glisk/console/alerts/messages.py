"""What a message says: in plain words, with links to the admin's page and the runbook's entry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from django.conf import settings
from django.urls import reverse

from glisk.admin.formatting import duration
from glisk.console.overview.causes import PAGE, WARN, Trouble
from glisk.management.base import counted
from glisk.models import Alert, AlertDelivery

Event = AlertDelivery.Event
LOOKS: Final = {PAGE: "failure", WARN: "warning"}  # of apprise
_LEVELS: Final = {
    PAGE: "page: somebody has to act now",
    WARN: "warn: it can wait until the morning",
}
_LONGEST: Final = 600  # characters of a reason: the smallest services take about 1,000 in all
_CONTROLS: Final = "admin:glisk_systemstate_controls"
_PAGES: Final = {
    "worker": "admin:glisk_workerheartbeat_changelist",
    "pause": _CONTROLS,
    "breaker": _CONTROLS,
    "limit": _CONTROLS,
    "webhook": "admin:webhooks_webhookevent_changelist",
}


def page_of(trouble: Trouble) -> str:
    """Return the admin's page about a trouble, without the host."""
    return trouble.url or reverse(_PAGES.get(trouble.kind, "admin:index"))


def runbook_of(kind: str) -> str:
    return f"{settings.RUNBOOK_URL}#problem-{kind}"


def title_of(alert: Alert, event: str) -> str:
    word = {Event.BEGIN: "", Event.REPEAT: "STILL ", Event.END: "OVER "}[Event(event)]
    level = "" if event == Event.END else f"{alert.level.upper()} "
    return f"{word}{level}[GLISK {settings.NETWORK}] {alert.headline}"


def body_of(alert: Alert, event: str, still_wrong: list[str], now: datetime) -> str:
    """Return it; one that is over tells what is still wrong, which may be the same by its cause."""
    return "\n".join(filter(None, _lines(alert, event, still_wrong, now)))


def _lines(alert: Alert, event: str, still_wrong: list[str], now: datetime) -> Iterator[str]:
    is_over = event == Event.END
    until = alert.gone_at if is_over and alert.gone_at else now
    lasted = duration((until - alert.began_at).total_seconds())
    began = f"{alert.began_at:%d %b %H:%M} UTC"
    if is_over:
        yield f"It began {began} and lasted {lasted}."
        rest = _clipped("; ".join(still_wrong))
        yield f"Still wrong: {rest}" if rest else "Nothing else is wrong."
    else:
        yield f"Since {began} ({lasted})."
        yield f"Level {_LEVELS[alert.level]}."
        yield f"{counted(alert.tokens, 'token')} affected." if alert.tokens else ""
    yield _clipped(alert.reason)
    if alert.advice and not is_over:
        yield f"What to do: {_clipped(alert.advice)}"
    if settings.PUBLIC_BASE_URL:
        yield f"Admin: {settings.PUBLIC_BASE_URL}{alert.url}"
    yield f"Runbook: {runbook_of(alert.kind)}"


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
