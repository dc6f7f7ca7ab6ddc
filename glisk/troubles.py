"""What is wrong at this moment, in words: each fault with its cause and what to do about it.

The dashboard and `manage.py pipeline_status` show the same list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from glisk.advice import advice_for_breaker, headline_for_breaker, reason_for_breaker
from glisk.overview import Obstacle, Worker
from glisk.refused_webhooks import RefusedWebhooks

_VENDORS = {"alchemy": "Alchemy", "replicate": "Replicate"}
_REFUSED = {
    "alchemy": "Has the signing key changed at Alchemy? Put the new one into "
    "ALCHEMY_WEBHOOK_SECRET (both, comma-separated, while it is rotated) and restart web. Mints "
    "are read from the chain meanwhile.",
    "replicate": "Has the signing key changed at Replicate? Put the new one into "
    "REPLICATE_WEBHOOK_SECRET (both, comma-separated, while it is rotated) and restart web. "
    "Predictions are asked for meanwhile.",
}
_NO_WORKER = (
    "Start one: make worker, which is manage.py qcluster. If it ends at once, its last lines say "
    "why. Nothing is lost meanwhile."
)


@dataclass(frozen=True)
class Trouble:
    """`kind` is `worker`, `pause`, `breaker` or `webhook`; only the last one holds nothing back."""

    key: str
    kind: str
    headline: str
    reason: str = ""
    advice: str = ""
    since: datetime | None = None
    retry_at: datetime | None = None


def troubles(
    *,
    obstacles: Iterable[Obstacle],
    workers: Sequence[Worker] | None,
    refused: Iterable[RefusedWebhooks] = (),
) -> list[Trouble]:
    """Return the troubles, the gravest first; `workers` is None for whoever may not see them."""
    found = []
    if workers is not None and not any(worker.alive for worker in workers):
        beats = [worker.beat_at for worker in workers]
        since = max(beats) if beats else None
        found.append(
            Trouble("worker", "worker", "No worker is alive", advice=_NO_WORKER, since=since)
        )
    found += [_of_obstacle(obstacle) for obstacle in obstacles]
    found += [
        Trouble(
            key=f"refused:{one.vendor}",
            kind="webhook",
            headline=f"{_VENDORS.get(one.vendor, one.vendor)}'s webhooks are refused",
            reason=one.reason,
            advice=_REFUSED.get(one.vendor, ""),
            since=one.since,
        )
        for one in refused
    ]
    return found


def _of_obstacle(obstacle: Obstacle) -> Trouble:
    subject = obstacle.subject or obstacle.key
    is_breaker = obstacle.kind == "breaker"
    return Trouble(
        key=obstacle.key,
        kind=obstacle.kind,
        headline=headline_for_breaker(subject)
        if is_breaker
        else f"{subject.capitalize()} is paused",
        reason=reason_for_breaker(subject, obstacle.reason) if is_breaker else obstacle.reason,
        advice=advice_for_breaker(subject, obstacle.reason) if is_breaker else "",
        since=obstacle.since,
        retry_at=obstacle.retry_at,
    )
