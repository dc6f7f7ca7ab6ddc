"""Takes in one webhook event and dies at a given moment, as kill -9 would: see test_crashes.py.

python -m webhooks.tests.dying_intake MOMENT < body
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import django
from django.db import connection

if TYPE_CHECKING:
    from tokens.minting.registration import MintOutcome
    from webhooks.alchemy import AlchemyEvent


def die(*arguments: Any, **options: Any) -> NoReturn:
    os._exit(9)


def arm(moment: str) -> None:
    """Replace what comes at the moment by death."""
    from tokens.minting import registration
    from webhooks import inbox

    match moment:
        case "after storing":
            inbox._process = die
        case "between mints and tokens":
            registration.create_tokens = die
        case "before the verdicts":
            inbox._finish = die
        case "before the commit":
            finish = inbox._finish

            def finish_and_die(
                event_pk: int,
                event: AlchemyEvent,
                outcomes: Sequence[MintOutcome],
                states: Sequence[str],
            ) -> bool:
                finish(event_pk, event, outcomes, states)
                die()

            inbox._finish = finish_and_die
        case "before the answer":
            pass
        case _:
            raise SystemExit(f"what is {moment!r}?")


def main() -> NoReturn:
    django.setup()
    from webhooks.alchemy import read_event
    from webhooks.bodies import read_json_object
    from webhooks.inbox import receive_event

    connection.ensure_connection()
    arm(sys.argv[1])
    body = sys.stdin.buffer.read()
    event = read_event(read_json_object(body))
    assert event is not None
    receive_event(event, body)
    die()


if __name__ == "__main__":
    main()
