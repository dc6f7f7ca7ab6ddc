"""Alarms: what holds work back and stands in no other row, said in words by whoever meets it.

A breaker, a pause, a token's own error and the like are rows already, which the console reads
(glisk/console/overview/troubles.py). Any other cause is raised here by the code that meets it,
again and again while it lasts:

    raise_alarm("listing", stages=("generation",), headline="Replicate's listing is refused",
                reason=str(error), advice="Give the token the right to list predictions.")
    end_alarm("listing")

Dashboard, `pipeline_status` and the pages of the tokens in these stages show it, without more code.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from glisk.clock import database_now, read_moment
from glisk.models import SystemState

PREFIX = "alarm:"
LASTS_SECONDS = 120.0

# The first moment of a series that goes on stays.
_RAISE = """
    INSERT INTO system_state (state_key, state_value, updated_at)
    VALUES (%(key)s, %(value)s::jsonb || jsonb_build_object('since', clock_timestamp()),
            clock_timestamp())
    ON CONFLICT (state_key) DO UPDATE SET
        updated_at = clock_timestamp(),
        state_value = %(value)s::jsonb || jsonb_build_object('since', CASE
            WHEN system_state.updated_at > clock_timestamp() - make_interval(secs => %(lasts)s)
            THEN system_state.state_value -> 'since' ELSE to_jsonb(clock_timestamp()) END)
"""


@dataclass(frozen=True)
class Alarm:
    """`stages` (generation, upload, reveal) are those whose tokens wait for it; perhaps none."""

    name: str
    headline: str
    reason: str
    advice: str
    stages: tuple[str, ...]
    since: datetime


def raise_alarm(
    name: str,
    *,
    headline: str,
    reason: str = "",
    advice: str = "",
    stages: Sequence[str] = (),
    lasts_seconds: float = LASTS_SECONDS,
) -> None:
    """Say what is wrong, in a few words; it is over when nobody has said it again for so long.

    One statement: call it where something failed, not at every turn. The texts are shown to
    operators, so they hold no secret.
    """
    value = {
        "headline": headline,
        "reason": reason,
        "advice": advice,
        "stages": list(stages),
        "lasts_seconds": lasts_seconds,
    }
    given: dict[str, str | float] = {
        "key": f"{PREFIX}{name}",
        "value": json.dumps(value),
        "lasts": lasts_seconds,
    }
    with connection.cursor() as cursor:
        cursor.execute(_RAISE, given)


def end_alarm(name: str) -> None:
    """Take an alarm back at once: what it told of works again."""
    SystemState.objects.filter(pk=f"{PREFIX}{name}").delete()


def read_alarm(row: SystemState) -> Alarm | None:
    """Return a stored alarm; None if it is over."""
    value = row.state_value if isinstance(row.state_value, dict) else {}
    lasts = timedelta(seconds=value.get("lasts_seconds", LASTS_SECONDS))
    if row.updated_at + lasts < database_now():
        return None
    return Alarm(
        name=row.state_key.removeprefix(PREFIX),
        headline=str(value.get("headline", "")),
        reason=str(value.get("reason", "")),
        advice=str(value.get("advice", "")),
        stages=tuple(value.get("stages", ())),
        since=read_moment(value.get("since")) or row.updated_at,
    )
