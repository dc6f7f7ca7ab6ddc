"""Many damaged bodies, the same ones every time: never a 5xx, never a token.

GLISK_FUZZ_TIMES=250 makes a hundred thousand of them, GLISK_FUZZ_SEED others.
"""

import copy
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from tokens.models import MintEvent, Token
from webhooks.tests.sending import (
    SAMPLE_FILE,
    activity_event,
    block_event,
    block_log,
    post_alchemy,
    rpc_log,
)

TIMES = int(os.environ.get("GLISK_FUZZ_TIMES", "1"))
SEED = int(os.environ.get("GLISK_FUZZ_SEED", "20260223"))

pytestmark = [pytest.mark.random, pytest.mark.django_db, pytest.mark.timeout(120 * TIMES)]

MISSING = object()
# None of these is a value of any field that a mint needs.
NONSENSE: tuple[Any, ...] = (
    MISSING, None, True, False, -1, 1.5, 1e308, 2**255, 10**300, "", "0x", "0x0g", "-0x1", "\x00",
    "\ud800", "é" * 200, "0x" + "f" * 65, "0x" + "0" * 63, [], [[]], {}, {"address": None}, [None],
)  # fmt: skip
# What a mint can do without.
OPTIONAL = {"sequenceNumber", "status", "transactionIndex", "removed", "blockNum", "category"}


def replace_at(root: Any, path: tuple[Any, ...], value: Any) -> None:
    *way, last = path
    for step in way:
        root = root[step]
    if value is MISSING:
        del root[last]
    else:
        root[last] = copy.deepcopy(value)


def paths_of(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside a JSON value."""
    entries: Any = ()
    if isinstance(node, dict):
        entries = list(node.items())
    elif isinstance(node, list):
        entries = list(enumerate(node))
    for key, value in entries:
        yield (*path, key)
        yield from paths_of(value, (*path, key))


def needed_paths(event: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the paths of what a mint cannot do without."""
    others = (("transaction", "index"), (0, "hash"))  # of an activity; a log's own is named else
    return [
        ("event", *path)
        for path in paths_of(event["event"])
        if path[-1] not in OPTIONAL and path[-2:] not in others
    ]


def damage_anywhere(dice: random.Random, event: dict[str, Any]) -> None:
    """Put nonsense, or a copy of another part, in some place of the event."""
    for _ in range(dice.randint(1, 3)):
        path = dice.choice(list(paths_of(event)))
        donor = dice.choice(list(paths_of(event)))
        value: Any = dice.choice(NONSENSE)
        if dice.random() < 0.3:
            value = event
            for step in donor:
                value = value[step]
        replace_at(event, path, value)


def damage_bytes(dice: random.Random, body: bytes) -> bytes:
    """Replace, take out or put in some bytes somewhere, or end there."""
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(body) + 1)
        gone, new = dice.choice([(1, 1), (dice.randint(1, 40), 0), (0, 8), (len(body), 0)])
        body = body[:place] + dice.randbytes(new) + body[place + gone :]
    return body


def test_a_mint_without_one_sound_fact_never_becomes_a_token(client: Client) -> None:
    dice = random.Random(SEED)
    for n in range(120 * TIMES):
        if n % 3:
            event = block_event([block_log(quantity=2)], event_id=f"whevt_{n}")
        else:
            event = activity_event([rpc_log(quantity=2)], event_id=f"whevt_{n}")
        path = dice.choice(needed_paths(event))
        replace_at(event, path, dice.choice(NONSENSE))
        response = post_alchemy(client, event)
        assert response.status_code == 200, (path, event)
        assert response.json()["status"] == "ignored", (path, event)
    assert not MintEvent.objects.exists()
    assert not Token.objects.exists()


def test_damage_in_any_place_is_never_our_fault(client: Client) -> None:
    dice = random.Random(SEED)
    seen = set()
    for n in range(120 * TIMES):
        event = block_event(
            [block_log(start=1 + n * 4, quantity=2, index=n), block_log(start=3 + n * 4, tx=n)],
            event_id=f"whevt_{n}",
        )
        damage_anywhere(dice, event)
        response = post_alchemy(client, event)
        assert response.status_code in (200, 400), event
        seen.add(response.json().get("status", "refused"))
    assert seen == {"processed", "ignored", "duplicate", "refused"}
    tokens = Token.objects.in_bulk()
    mints = MintEvent.objects.in_bulk()
    assert set(tokens) == {token_id for mint in mints.values() for token_id in mint.token_ids}
    for token in tokens.values():
        assert token.mint_event_id is not None
        assert token.token_id in mints[token.mint_event_id].token_ids


def test_damaged_bytes_are_never_our_fault(client: Client) -> None:
    dice = random.Random(SEED)
    body = SAMPLE_FILE.read_bytes()
    for _ in range(100 * TIMES):
        response = post_alchemy(client, damage_bytes(dice, body))
        assert response.status_code in (200, 400)
    assert not Token.objects.exists()  # the sample is of another network
