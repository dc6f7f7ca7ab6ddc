"""What the gate turns away, and why: nothing that was not verified reaches the chain."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models import F
from pytest_django import Settings

from glisk.cid import compute_cid
from glisk.clients.chain import ChainClient, RevealFacts
from glisk.clients.chain.client import TokenFacts
from glisk.clients.chain.codec import Block
from reveals.gate import (
    VERIFIED_SECONDS,
    Candidate,
    check_tokens,
    metadata_fault,
    note_verified,
    waiting_tokens,
)
from reveals.models import Verification
from reveals.pipeline.verify import ALARM_AFTER_REFUSALS
from reveals.tests.stage import Scene, breaker_reason, is_held_back, transactions
from sandbox.accounts import STRANGER
from sandbox.node import free_port
from tokens.models import MintEvent, Token, TokenTransition
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory, hash32
from tokens.tests.stage import Start, Worker

pytestmark = pytest.mark.django_db


def reason_of(token: Token) -> tuple[str, str]:
    token.refresh_from_db()
    return token.status, token.error_class


def turned_away(drain: Worker, token: Token, *, as_: str) -> Callable[[], bool]:
    return lambda: reason_of(token)[1] == as_


def due(token: Token) -> None:
    """Let the time pass that a token was told to wait."""
    Token.objects.filter(pk=token.pk).update(next_attempt_at=None)


def test_files_that_were_found_right_are_believed_for_an_hour_unless_they_change() -> None:
    token = TokenFactory.create(status=TokenStatus.READY)
    note_verified(waiting_tokens(9))
    (noted,) = waiting_tokens(9)
    assert noted.verified_at is not None
    Token.objects.filter(pk=token.pk).update(image_cid=compute_cid(b"another", version=1))
    assert waiting_tokens(9)[0].verified_at is None
    note_verified([noted])  # what it says is not of the token's files any more
    assert waiting_tokens(9)[0].verified_at is None
    Token.objects.filter(pk=token.pk).update(image_cid=noted.image_cid)
    age_verifications(timedelta(seconds=VERIFIED_SECONDS - 60))
    assert waiting_tokens(9)[0].verified_at is not None
    age_verifications(timedelta(seconds=61))
    assert waiting_tokens(9)[0].verified_at is None


def age_verifications(by: timedelta) -> None:
    Verification.objects.update(verified_at=F("verified_at") - by)


# -- what the chain says --------------------------------------------------------------------


def test_a_chain_that_names_no_author_yet_is_waited_for(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members of one batch may be answered by different nodes, of which one lags."""
    read = ChainClient.reveal_facts

    def lagging(self: ChainClient, **question: Any) -> RevealFacts:
        facts = read(self, **question)
        nobody = "0x" + "0" * 40
        tokens = {i: replace(token, prompt_author=nobody) for i, token in facts.tokens.items()}
        return replace(facts, tokens=tokens)

    (token,) = scene.mint()
    drain = worker()
    with monkeypatch.context() as patch:
        patch.setattr(ChainClient, "reveal_facts", lagging)
        drain.until(turned_away(drain, token, as_="author_unknown"))
    assert token.status == TokenStatus.READY
    due(token)
    drain.until(lambda: scene.revealed_once([token]))


def test_a_mint_needs_its_confirmations(worker: Start, scene: Scene, settings: Settings) -> None:
    settings.MINT_CONFIRMATIONS = 3
    tokens = scene.mint()
    drain = worker()
    drain.until(turned_away(drain, tokens[0], as_="unconfirmed"))
    assert "1 of 3 confirmations" in (tokens[0].generation_error or "")
    assert tokens[0].attempts == 0
    assert drain.tick is not None
    assert drain.tick <= 0.5  # looks again as soon as it is due, not at the idle tick
    scene.chain.mine(2)
    drain.until(lambda: scene.revealed_once(tokens))
    tokens[0].refresh_from_db()
    assert tokens[0].error_class == ""
    assert TokenTransition.objects.filter(token=tokens[0], to_status="ready").count() == 1


def test_a_mint_in_a_block_that_is_gone_waits(worker: Start, scene: Scene) -> None:
    (token,) = scene.mint()
    event = MintEvent.objects.get()
    right = event.block_hash
    MintEvent.objects.update(block_hash=hash32(0xDEAD))
    drain = worker()
    drain.until(turned_away(drain, token, as_="reorged"))
    assert transactions() == []
    MintEvent.objects.update(block_hash=right)
    due(token)
    drain.until(lambda: scene.revealed_once([token]))


# -- what the gateway serves ------------------------------------------------------------------


def test_wrong_metadata_is_named() -> None:
    for text, reason in (
        ("no brackets at all", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("[" * 10_000, "not a JSON object"),
        ('{"name":"GLISK S0 #1"}', "another image"),
        ('{"name":"GLISK S0 #2","image":"ipfs://bafy","attributes":[]}', "not that of token 1"),
        ('{"name":"GLISK S0 #1","image":"ipfs://None","attributes":[]}', "another image"),
        ('{"name":"GLISK S0 #1","image":"https://x/bafy","attributes":[]}', "another image"),
        ('{"name":"GLISK S0 #1","image":"ipfs://bafy"}', "no list of attributes"),
    ):
        fault = metadata_fault(text.encode(), token_id=1, image_cid="bafy")
        assert reason in (fault or ""), text


def test_bytes_that_stay_wrong_wait_longer_and_longer_and_raise_an_alarm(
    worker: Start, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy's page may stand there for an hour: the token is good, and goes when it is gone."""
    good, bad = scene.mint(2)
    scene.store.delete(str(bad.image_cid))
    scene.store.write(str(bad.image_cid), b"another image")
    drain = worker()
    drain.until(lambda: Token.objects.get(pk=bad.pk).attempts > ALARM_AFTER_REFUSALS)
    assert reason_of(bad) == (TokenStatus.READY, "artefact")
    assert bad.next_attempt_at is not None
    alarms = [
        r for r in caplog.records if r.levelname == "ERROR" and "reveal_refused" in str(r.msg)
    ]
    assert alarms
    drain.until(lambda: scene.revealed_once([good]))
    assert TokenTransition.objects.filter(token=bad, to_status="ready").count() == 1
    scene.store.delete(str(bad.image_cid))
    scene.store.write(str(bad.image_cid), f"image of token {bad.token_id}".encode())
    due(bad)
    drain.until(lambda: scene.revealed_once([bad]))


def test_a_file_that_comes_late_is_waited_for_and_no_outage(worker: Start, scene: Scene) -> None:
    missing, good = scene.mint(2)
    text = scene.store.read(str(missing.metadata_cid)) or b""
    scene.store.delete(str(missing.metadata_cid))
    drain = worker()
    drain.until(lambda: scene.revealed_once([good]))
    drain.until(turned_away(drain, missing, as_="transient"))
    drain.settle(0.3)
    assert not is_held_back("gateway")
    assert reason_of(missing) == (TokenStatus.READY, "transient")
    scene.store.write(str(missing.metadata_cid), text)
    due(missing)
    drain.until(lambda: scene.revealed_once([missing]))


def test_an_outage_of_the_gateway_is_waited_for_and_counts_against_nobody(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    right, settings.PINATA_GATEWAY = settings.PINATA_GATEWAY, [f"http://127.0.0.1:{free_port()}"]
    tokens = scene.mint(3)
    first = worker()
    first.until(lambda: is_held_back("gateway"))
    first.settle(0.8)
    assert set(Token.objects.values_list("status", "attempts")) == {("ready", 0)}
    first.stop()
    settings.PINATA_GATEWAY = right
    worker().until(lambda: scene.revealed_once(tokens))


def test_tokens_without_a_mint_event_are_judged_by_the_contract(
    worker: Start, scene: Scene
) -> None:
    """Found by their id: there is no block to compare, but existence, author and state are.

    The contract lets anybody mint for the zero address.
    """
    tokens = [*scene.mint(), *scene.mint(author="0x" + "0" * 40)]
    Token.objects.filter(pk=tokens[0].pk).update(mint_event=None)
    worker().until(lambda: scene.revealed_once(tokens))


# -- what must hold before anything is sent ----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("CHAIN_ID", 8453, "chain 31337"),
        ("GLISK_NFT_CONTRACT_ADDRESS", "0x" + "12" * 20, "no contract"),
        ("KEEPER_PRIVATE_KEY", STRANGER.private_key, "has no KEEPER_ROLE"),
    ],
)
def test_on_another_chain_without_contract_or_role_nothing_is_sent(
    worker: Start, scene: Scene, settings: Settings, name: str, wrong: Any, reason: str
) -> None:
    tokens = scene.mint()
    right = getattr(settings, name)
    setattr(settings, name, wrong)
    first = worker()
    first.until(is_held_back)
    assert reason in breaker_reason()
    assert transactions() == []
    first.stop()
    setattr(settings, name, right)
    worker().until(lambda: scene.revealed_once(tokens))


# -- each answer of the chain, by hand --------------------------------------------------------

WALLET, OTHER, NOBODY = (f"0x{digits * 20}" for digits in ("a1", "c3", "00"))
SOUND = TokenFacts(exists=True, prompt_author=WALLET, revealed=False)


@pytest.mark.parametrize(
    ("token_id", "change", "mint", "named"),
    [
        pytest.param(7, {}, (8, "0x8"), "", id="just deep enough"),
        pytest.param(7, {}, (9, "0x9"), "unconfirmed", id="one block too young"),
        pytest.param(7, {}, (12, "0x12"), "unconfirmed", id="the node lags"),
        pytest.param(7, {}, (8, "0xbad"), "reorged", id="its block is gone"),
        pytest.param(7, {"exists": False}, (8, "0x8"), "not_minted", id="unknown"),
        pytest.param(7, {"revealed": True}, (8, "0x8"), "already_revealed", id="revealed"),
        pytest.param(7, {"prompt_author": OTHER}, (8, "0x8"), "author_differs", id="another's"),
        pytest.param(7, {"prompt_author": NOBODY}, (8, "0x8"), "author_unknown", id="nobody's"),
        pytest.param(7, {}, None, "", id="without a log, and old"),
        pytest.param(8, {}, None, "unconfirmed", id="without a log, and new"),
    ],
)
def test_what_the_chain_says_against_a_token(
    settings: Settings,
    token_id: int,
    change: dict[str, Any],
    mint: tuple[int, str] | None,
    named: str,
) -> None:
    settings.MINT_CONFIRMATIONS = 3
    candidate = Candidate(token_id, WALLET, "", "", datetime.now(UTC), *(mint or (None, None)))
    facts = RevealFacts(
        Block(10, "0x10", 0),
        settings.CHAIN_ID,
        tokens={token_id: replace(SOUND, **change)},
        block_hashes={8: "0x8", 9: "0x9", 12: None},
        confirmed_next_token_id=8,
    )
    found = [(refusal.error_class, refusal.final) for refusal in check_tokens([candidate], facts)]
    assert found == ([(named, named in ("already_revealed", "author_differs"))] if named else [])
