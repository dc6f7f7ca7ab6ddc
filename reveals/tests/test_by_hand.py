"""Reveals by hand: each token answered by name, the cost shown first, the drain sends."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from glisk.models import WorkerHeartbeat
from glisk.pauses import pause_stage
from glisk.timing import timing
from reveals.by_hand import request_reveal
from reveals.gate import read_ready_tokens
from reveals.models import RevealRequest
from reveals.tests.factories import RevealBatchFactory
from reveals.tests.stage import Scene, transactions
from sandbox.accounts import KEEPER
from sandbox.node import free_port
from tokens.models import Token, TokenTransition
from tokens.repairs import hold_tokens
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory, hash32
from tokens.tests.stage import Start, status

pytestmark = pytest.mark.django_db

FAR = "2090-01-01T00:00Z"


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def refused(*arguments: str) -> tuple[CommandError, str]:
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command(*arguments, stdout=out)
    return caught.value, out.getvalue()


@pytest.fixture(autouse=True)
def _alive() -> None:
    """A worker that reveals is alive, however long the test takes."""
    now = timezone.now()
    WorkerHeartbeat.objects.create(
        owner="h:1:2:reveal",
        host="h",
        main_pid=1,
        pid=2,
        stage="reveal",
        started_at=now,
        beat_at=now + timedelta(minutes=5),
    )


@pytest.fixture
def company(settings: Settings) -> Token:
    """A token on its way, for which others would wait an hour."""
    settings.BATCH_REVEAL_WAIT_SECONDS = 3600
    token: Token = TokenFactory.create(token_id=900, status=TokenStatus.GENERATING)
    return token


# -- the service ------------------------------------------------------------------------------


def test_every_token_is_answered_by_name_and_the_rest_goes_on() -> None:
    ready = TokenFactory.create(status=TokenStatus.READY, next_attempt_at=FAR)
    generating = TokenFactory.create(status=TokenStatus.GENERATING)
    failed = TokenFactory.create(
        status=TokenStatus.FAILED, generation_error="A hand too many.", error_class="artefact"
    )
    revealed = TokenFactory.create(status=TokenStatus.REVEALED, reveal_tx_hash=hash32(7))
    held = TokenFactory.create(status=TokenStatus.READY)
    hold_tokens(token_ids=[held.pk], actor="me", reason="wait for the author")
    flying = TokenFactory.create(status=TokenStatus.READY)
    RevealBatchFactory.create(tokens=[flying])
    tokens = [ready, generating, failed, revealed, held, flying]
    results = request_reveal(token_ids=[*(t.pk for t in tokens), 999_999], actor="me")
    said = {result.token_id: result.message for result in results}
    assert [result.token_id for result in results if result.done] == [ready.pk]
    assert said[generating.pk] == "It is not ready: it is generating."
    assert said[failed.pk] == "It failed: A hand too many. Retry it first."
    assert said[revealed.pk] == f"It is revealed already by {hash32(7)}."
    assert said[held.pk] == "It is held: wait for the author. Release it first."
    assert said[flying.pk] == "Its reveal is under way in a transaction."
    assert said[999_999] == "There is no token 999999 here."
    assert list(RevealRequest.objects.values_list("token_id", "actor")) == [(ready.pk, "me")]
    ready.refresh_from_db()
    assert ready.next_attempt_at is None
    assert request_reveal(token_ids=[ready.pk], actor="second")[0].done  # and changes nothing
    noted = TokenTransition.objects.get(token=ready)
    assert (noted.actor, noted.reason) == ("me", "reveal requested")
    assert RevealRequest.objects.get().actor == "me"


def test_what_is_requested_comes_first_and_is_known_by_it() -> None:
    other, wanted = TokenFactory.create_batch(2, status=TokenStatus.READY)
    request_reveal(token_ids=[wanted.pk], actor="me")
    found = [(c.token_id, c.requested) for c in read_ready_tokens().waiting]
    assert found == [(wanted.pk, True), (other.pk, False)]


@pytest.mark.django_db(transaction=True)
def test_a_request_wakes_the_drain_with_its_commit() -> None:
    token = TokenFactory.create(status=TokenStatus.READY)
    with connection.cursor() as cursor:
        cursor.execute("LISTEN glisk_reveal")
    request_reveal(token_ids=[token.pk], actor="me")
    heard = list(connection.connection.notifies(timeout=30, stop_after=1))
    assert [notice.channel for notice in heard] == ["glisk_reveal"]


def test_requested_tokens_go_at_once_and_by_themselves(
    worker: Start, scene: Scene, company: Token
) -> None:
    tokens = scene.mint(4)
    drain = worker()
    drain.settle(0.3)
    assert transactions() == []
    wanted = [tokens[1], tokens[3]]
    Token.objects.filter(pk=wanted[1].pk).update(next_attempt_at=FAR)
    request_reveal(token_ids=[token.pk for token in wanted], actor="me")
    drain.until(lambda: scene.revealed_once(wanted))
    assert [row.token_ids for row in transactions()] == [[t.pk for t in wanted]]
    drain.settle(0.2)
    assert len(transactions()) == 1
    assert not RevealRequest.objects.exists()


def test_more_requested_tokens_than_a_batch_holds_go_in_several(
    worker: Start, scene: Scene, settings: Settings, company: Token
) -> None:
    settings.BATCH_REVEAL_MAX_TOKENS = 2
    tokens = scene.mint(5)
    request_reveal(all_ready=True, actor="me")
    worker().until(lambda: scene.revealed_once(tokens))
    assert [len(row.token_ids) for row in transactions()] == [2, 2, 1]


def test_a_requested_token_that_is_checked_slowly_holds_up_nobody(
    worker: Start, scene: Scene, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BATCH_REVEAL_WAIT_SECONDS = 0.2
    monkeypatch.setattr(timing, "filling", 0.2)
    settings.HTTP_READ_TIMEOUT_SECONDS = 3
    slow, other = scene.mint(2)
    request_reveal(token_ids=[slow.pk], actor="me")
    large = scene.pin(bytes(10_000), version=1)
    text = (slow.metadata_text or "").replace(str(slow.image_cid), large)
    cid = scene.pin(text.encode(), version=0)
    Token.objects.filter(pk=slow.pk).update(image_cid=large, metadata_cid=cid, metadata_text=text)
    scene.gateway.set_faults(slow_rate=1.0, slow_bytes_per_second=1000.0)
    drain = worker()
    drain.until(lambda: scene.revealed_once([other]))
    assert status(slow) == TokenStatus.READY
    scene.gateway.set_faults(slow_rate=0.0)
    drain.until(lambda: status(slow) == TokenStatus.REVEALED)


def test_a_request_does_not_get_past_the_gate(worker: Start, scene: Scene) -> None:
    good, bad = scene.mint(2)
    Token.objects.filter(pk=bad.pk).update(metadata_cid=good.metadata_cid)
    request_reveal(all_ready=True, actor="me")
    worker().until(lambda: scene.revealed_once([good]) and status(bad) == TokenStatus.FAILED)
    assert [row.token_ids for row in transactions()] == [[good.pk]]
    request_reveal(token_ids=[bad.pk], actor="me")
    assert not RevealRequest.objects.exists()


# -- the commands -----------------------------------------------------------------------------


def test_a_dry_run_shows_batches_gas_and_cost_and_asks_for_nothing(
    scene: Scene, settings: Settings
) -> None:
    settings.BATCH_REVEAL_MAX_TOKENS = 3
    error, _ = refused("reveal_tokens", "--all-ready", "--yes")
    assert (str(error), error.returncode) == ("No token is ready.", 1)
    tokens = scene.mint(4)
    page = run("reveal_tokens", "--all-ready", "--dry-run")
    assert "batch 1: 3 tokens (#1, #2, #3), about 3" in page
    assert "batch 2: 1 token (#4), about 1" in page
    assert "4 tokens in 2 transactions, about 0.0000" in page
    assert not RevealRequest.objects.exists()
    assert {status(token) for token in tokens} == {TokenStatus.READY}


def test_what_does_not_go_is_named_and_the_rest_goes(scene: Scene, settings: Settings) -> None:
    """On a machine without the key, which knows the keeper's address only."""
    settings.KEEPER_ADDRESS, settings.KEEPER_PRIVATE_KEY = KEEPER.address, ""
    good, bad = scene.mint(2)
    Token.objects.filter(pk=bad.pk).update(metadata_cid=good.metadata_cid)
    unready = TokenFactory.create(token_id=500, status=TokenStatus.UPLOADING)
    error, page = refused(
        *("reveal_tokens", "--token-ids", f"{good.pk}-{bad.pk}", "500", "999"),
        *("--yes", "--timeout", "0"),
    )
    assert error.returncode == 1
    assert f"token {good.pk}: not revealed yet: it is being checked" in page
    assert f"token {bad.pk}: skipped: gateway: the metadata's name is not that" in page
    assert "token 500: skipped: It is not ready: it is uploading." in page
    assert "token 999: skipped: There is no token 999 here." in page
    assert "Requested: 1 token." in page
    assert list(RevealRequest.objects.values_list("token_id", flat=True)) == [good.pk]
    assert status(bad) == TokenStatus.READY  # a look changes nothing
    assert status(unready) == TokenStatus.UPLOADING


def test_a_short_balance_and_a_pause_are_told(scene: Scene) -> None:
    tokens = scene.mint(2)
    scene.chain.set_balance(KEEPER.address, 10**6)
    pause_stage("reveal", actor="ann", reason="a look at the art")
    error, page = refused("reveal_tokens", "--all-ready", "--yes")  # and nobody waits for it
    assert error.returncode == 1
    assert "The keeper has 0.00000000 ETH, and it may cost 0.000" in page
    for token in tokens:
        assert f"token {token.pk}: skipped: Reveals are paused by ann (a look at the art)" in page
    assert RevealRequest.objects.count() == len(tokens)


def test_without_a_worker_and_a_key_it_says_so_and_fails(scene: Scene, settings: Settings) -> None:
    settings.KEEPER_ADDRESS, settings.KEEPER_PRIVATE_KEY = KEEPER.address, ""
    (token,) = scene.mint()
    WorkerHeartbeat.objects.update(stage="pipeline")
    for _ in range(2):  # and where there is none at all
        error, page = refused("reveal_tokens", "--all-ready", "--yes")
        assert error.returncode == 1
        assert "No living worker reveals, and this process has no keeper's key." in page
        assert f"token {token.pk}: not revealed yet" in page
        WorkerHeartbeat.objects.all().delete()
    assert RevealRequest.objects.get().token_id == token.pk  # it goes when one starts


def test_without_a_yes_nothing_is_requested(scene: Scene) -> None:
    scene.mint()
    error, _ = refused("reveal_tokens", "--all-ready")
    assert "Add --yes" in str(error)
    assert not RevealRequest.objects.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"CHAIN_ID": 8453}, "the node is on chain 31337"),
        ({"REVEAL_MAX_GAS_PRICE_GWEI": 0.000001}, "REVEAL_MAX_GAS_PRICE_GWEI"),
        ({"KEEPER_PRIVATE_KEY": ""}, "has no keeper"),
    ],
)
def test_what_forbids_every_reveal_is_told(
    scene: Scene, settings: Settings, change: dict[str, Any], said: str
) -> None:
    scene.mint()
    for name, value in change.items():
        setattr(settings, name, value)
    error, _ = refused("reveal_tokens", "--all-ready", "--yes")
    assert said in str(error)
    assert error.returncode == 1
    assert not RevealRequest.objects.exists()


def test_reconcile_follows_the_chain_and_names_what_is_foreign(scene: Scene) -> None:
    ours, foreign, waiting = scene.mint(3)
    reveal = scene.chain.reveal(
        0, [ours.pk, foreign.pk], [str(ours.token_uri), "ipfs://somebody-elses"]
    )
    scene.chain.wait(reveal)
    error, page = refused("reconcile_reveals", "--dry-run")
    assert (error.returncode, "Dry run" in page) == (2, True)
    assert f"adopted: #{ours.pk}" in page
    assert {status(ours), status(foreign)} == {TokenStatus.READY}
    error, page = refused("reconcile_reveals")
    assert error.returncode == 2
    assert "3 ready tokens compared with the chain." in page
    assert f"1 revealed by somebody else with our URI, adopted: #{ours.pk}" in page
    assert f"1 revealed by somebody else with a foreign URI, failed: #{foreign.pk}" in page
    assert status(ours) == TokenStatus.REVEALED
    assert status(waiting) == TokenStatus.READY
    page = run("reconcile_reveals", "--token-ids", f"1-{waiting.pk}")
    assert "1 ready token compared" in page
    assert f"not compared: #{ours.pk}, #{foreign.pk}." in page


def test_reconcile_without_a_node_says_so(settings: Settings) -> None:
    TokenFactory.create(status=TokenStatus.READY)
    settings.RPC_URL = f"http://127.0.0.1:{free_port()}"
    error, _ = refused("reconcile_reveals")
    assert error.returncode == 1
    assert "could not be read" in str(error)
