"""Whatever the webhook drops, doubles, reorders or cuts short, whatever a node hides, and whatever
reorgs do meanwhile: in the end the database holds what the chain holds, token by token.

Hundreds of cases call the inbox and the looks directly, each in a transaction that is rolled
back; sockets, commits and a node have tests of their own.
GLISK_RECOVERY_CASES plays more or fewer, GLISK_RECOVERY_SEED others; a failure names its seed.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
from collections.abc import Iterator, Sequence

import pytest
from django.db import transaction
from rest_framework.exceptions import ParseError

from glisk.errors import ProviderError
from glisk.timing import timing
from tokens.recovery.proof import prove
from tokens.recovery.scan import scan_chain
from tokens.tests.recovery.model_node import ModelNode
from webhooks.alchemy import read_event
from webhooks.inbox import receive_event
from webhooks.tests.random_case import Case, forget_everything

pytestmark = [pytest.mark.random, pytest.mark.django_db, pytest.mark.timeout(1800)]

CASES = int(os.environ.get("GLISK_RECOVERY_CASES", "150"))
SEED = int(os.environ.get("GLISK_RECOVERY_SEED", "20260201"))
_PORTION = 150


def receive(bodies: Sequence[bytes]) -> None:
    """Take bodies in as the view does once it has checked the signature."""
    for body in bodies:
        with contextlib.suppress(ParseError):  # the view answers 400
            receive_event(read_event(body), body)


def look(node: ModelNode, thorough: bool) -> None:
    with contextlib.suppress(ProviderError):
        if thorough:
            prove(node.reader(), budget_seconds=600)
        else:
            scan_chain(node.reader())


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Enqueue and log nothing; keep other tests' objects out of the garbage collection."""
    monkeypatch.setattr(timing, "nudge", 1e9)
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("model_world", "_alone")
def test_in_the_end_the_database_holds_what_the_chain_holds() -> None:
    for number in range(CASES):
        if number % _PORTION == 0:
            forget_everything()  # what was rolled back before takes time to read over
        with transaction.atomic():
            Case(SEED + number, receive=receive, look=look).play_to_the_end()
            transaction.set_rollback(True)
