"""Overlapping registrations at the same time end as one: no error, no deadlock, nothing lost."""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.conf import settings
from django.db import connection, transaction

from authors.tests.factories import AuthorFactory
from glisk.tests.waiting import at_once
from tokens.minting.mint_log import MintLog
from tokens.minting.registration import MintOutcome, register_mints
from tokens.models import MintEvent, Token, TokenTransition
from tokens.models.mint import MintSource
from tokens.tests.factories import hash32
from tokens.tests.test_registration import mint_log

pytestmark = pytest.mark.django_db(transaction=True)


def all_at_once(calls: Sequence[Sequence[MintLog]]) -> list[list[MintOutcome]]:
    """Register each sequence on a connection of its own."""
    register = partial(register_mints, source=MintSource.WEBHOOK, actor="test")
    return at_once(len(calls), lambda number: register(calls[number]))


def count(outcomes: list[list[MintOutcome]], wanted: Callable[[MintOutcome], int]) -> int:
    return sum(wanted(outcome) for call in outcomes for outcome in call)


def test_the_same_mint_from_two_connections_is_registered_once() -> None:
    for n in range(15):
        log = mint_log(log_index=n, start_token_id=1 + n * 50, quantity=50)
        outcomes = all_at_once([[log], [log]])
        assert sorted(outcome.result for call in outcomes for outcome in call) == [
            "duplicate",
            "registered",
        ]
    assert MintEvent.objects.count() == 15
    assert TokenTransition.objects.count() == Token.objects.count() == 15 * 50


def test_overlapping_sets_in_any_order_end_in_the_same_state() -> None:
    dice = random.Random(20260201)
    for turn in range(10):
        first = 1 + turn * 100
        logs = [
            mint_log(
                tx_hash=hash32(dice.getrandbits(200)), start_token_id=first + n * 5, quantity=5
            )
            for n in range(20)
        ]
        calls = [dice.sample(logs, 15) for _ in range(3)] + [dice.sample(logs, 20)]
        outcomes = all_at_once(calls)
        assert count(outcomes, lambda outcome: len(outcome.created)) == 100
        assert count(outcomes, lambda outcome: outcome.result == "registered") == 20
        assert count(outcomes, lambda outcome: outcome.result == "duplicate") == 45
    assert MintEvent.objects.count() == 200
    assert TokenTransition.objects.count() == Token.objects.count() == 1000


def test_mints_that_claim_the_same_tokens_do_not_deadlock() -> None:
    for turn in range(10):
        first = 1 + turn * 60
        one = [
            mint_log(
                tx_hash=hash32(1 + turn), log_index=n, start_token_id=first + n * 10, quantity=10
            )
            for n in range(6)
        ]
        # The same ids by other logs, which sort the other way round.
        other = [
            mint_log(
                tx_hash=hash32(1000 + turn),
                log_index=n,
                start_token_id=first + 50 - n * 10,
                quantity=10,
            )
            for n in range(6)
        ]
        outcomes = all_at_once([one, other])
        assert count(outcomes, lambda outcome: len(outcome.created)) == 60
        assert count(outcomes, lambda outcome: len(outcome.conflicting)) == 60
    assert Token.objects.count() == 600


def test_an_author_who_registers_at_the_same_time_is_not_overlooked() -> None:
    """Whoever holds mint_events in SHARE mode comes either before the mint or after it."""
    AuthorFactory.create(wallet_address=settings.GLISK_DEFAULT_AUTHOR_WALLET)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE mint_events IN SHARE MODE")
            waiting = pool.submit(all_at_once, [[mint_log()]])
            _wait_until_somebody_waits_for_a_lock()
            author = AuthorFactory.create(wallet_address=mint_log().prompt_author)
        waiting.result(timeout=60)
    assert Token.objects.get().author == author


def _wait_until_somebody_waits_for_a_lock() -> None:
    deadline = time.monotonic() + 60
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute(
                "SELECT count(*) FROM pg_locks "
                "WHERE NOT granted AND relation = 'mint_events'::regclass AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            if cursor.fetchone()[0]:
                return
            time.sleep(0.01)
    raise AssertionError("the registration did not wait")
