"""Tokens that make a batch revert: found by simulation, set aside by name; the others go on."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from django.utils import timezone

from glisk.clients.chain import ChainClient, RevertError
from reveals import gate, reconcile
from reveals.gate import Candidate
from reveals.models import RevealBatch, RevealTransaction
from reveals.pipeline import compose
from reveals.pipeline.compose import Group, find_poison
from reveals.reconcile import Answer, Found, Question, reconcile_reveals
from reveals.tests.stage import Scene, breaker_reason, is_held_back, reveal, statuses, transactions
from sandbox.accounts import KEEPER
from sandbox.chain import KEEPER_ROLE
from tokens.models import Token, TokenTransition
from tokens.recovery.drift import last_report
from tokens.states import TokenStatus
from tokens.tests.stage import Start, is_failed

pytestmark = pytest.mark.django_db

BATCH = 50


def candidates(count: int) -> list[Candidate]:
    return [Candidate(i, "0x" + "1" * 40, "b", "Qm", timezone.now()) for i in range(1, count + 1)]


class Oracle:
    """A contract that reverts for some ids, without saying for which; counts what it is asked."""

    def __init__(self, poison: set[int]) -> None:
        self.poison, self.simulations, self.rounds = poison, 0, 0

    def __call__(self, groups: Sequence[Group]) -> list[RevertError | None]:
        self.simulations += len(groups)
        self.rounds += 1
        return [
            RevertError("no reason", data="") if self.poison & {c.token_id for c in group} else None
            for group in groups
        ]


def test_every_poison_token_is_found_in_few_simulations() -> None:
    for k in range(1, BATCH + 1):
        poison = set(random.Random(k).sample(range(1, BATCH + 1), k))
        oracle = Oracle(poison)
        assert set(find_poison(candidates(BATCH), oracle)) == poison
        assert oracle.simulations <= 2 * k * math.ceil(math.log2(BATCH)) + 1
        assert oracle.rounds <= math.ceil(math.log2(BATCH))


def test_a_combination_blames_nobody() -> None:
    def only_all(groups: Sequence[Group]) -> list[RevertError | None]:
        return [RevertError("x", data="") if len(group) == 4 else None for group in groups]

    assert find_poison(candidates(4), only_all) == {}


# -- on the chain --------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 25, 50])
def test_the_good_ones_go_in_one_transaction(worker: Start, scene: Scene, k: int) -> None:
    tokens = scene.mint(BATCH)
    chosen = set(random.Random(k).sample(range(BATCH), k))
    for index in chosen:
        scene.jam(tokens[index].token_id)
    good = [token for index, token in enumerate(tokens) if index not in chosen]
    drain = worker()
    drain.until(lambda: scene.revealed_once(good))
    bad_ids = [tokens[index].token_id for index in chosen]
    bad = Token.objects.filter(pk__in=bad_ids)
    drain.until(lambda: bad.filter(error_class="would_revert").count() == k)
    assert statuses() == (["confirmed"] if good else [])
    assert scene.nonce() == len(transactions())


def test_a_jammed_token_fails_after_some_looks_or_goes_when_it_can(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Enough for one of them to be mended in time.
    monkeypatch.setattr(compose, "MAX_WOULD_REVERT", 5)
    bad, mended = scene.mint(2)
    scene.jam(bad.token_id)
    scene.jam(mended.token_id)
    drain = worker()
    drain.until(lambda: Token.objects.filter(error_class="would_revert").count() == 2)
    scene.jam(mended.token_id, jammed=False)
    drain.until(lambda: scene.revealed_once([mended]))
    drain.until(is_failed(bad))
    bad.refresh_from_db()
    assert bad.error_class == "would_revert"
    assert "Panic(0x22)" in (bad.generation_error or "")
    assert statuses() == ["confirmed"]


def test_what_a_gateway_refused_for_long_has_all_its_looks(worker: Start, scene: Scene) -> None:
    """An outage of an hour says nothing of what the contract will say."""
    (token,) = scene.mint()
    scene.jam(token.token_id)
    Token.objects.update(attempts=30, error_class="artefact", generation_error="late")
    drain = worker()
    drain.until(lambda: Token.objects.get().error_class == "would_revert")
    assert Token.objects.get().status == TokenStatus.READY
    drain.until(lambda: Token.objects.get().attempts == 3)
    drain.crash()
    # A restart checks the artefacts anew, and does not count the looks anew.
    worker().until(lambda: Token.objects.get().attempts == 4)


def test_without_its_role_the_keeper_is_at_fault_and_no_token(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role goes between the facts and the simulation."""
    tokens = scene.mint(2)
    monkeypatch.setattr(gate, "check_setup", lambda facts, *, keeper: None)
    scene.chain.wait(scene.chain.send(0, "revokeRole", KEEPER_ROLE, KEEPER.address))
    drain = worker()
    drain.until(is_held_back)
    assert "would revert" in breaker_reason()
    assert Token.objects.filter(error_class="").count() == 2
    scene.chain.wait(scene.chain.send(0, "grantRole", KEEPER_ROLE, KEEPER.address))
    drain.until(lambda: scene.revealed_once(tokens))


# -- revealed by others --------------------------------------------------------------------------


def test_a_foreign_uri_fails_with_both_uris_and_is_reported_as_drift(
    worker: Start, scene: Scene
) -> None:
    foreign, good = scene.mint(2)
    scene.chain.wait(scene.chain.reveal(0, [foreign.token_id], ["ipfs://somebody-elses"]))
    drain = worker()
    drain.until(lambda: scene.revealed_once([good]))
    drain.until(is_failed(foreign))
    foreign.refresh_from_db()
    assert foreign.error_class == "already_revealed"
    assert "ipfs://somebody-elses" in (foreign.generation_error or "")
    assert str(foreign.token_uri) in (foreign.generation_error or "")
    (finding,) = last_report().findings
    assert (finding.kind, finding.token_id) == ("uri_differs", foreign.token_id)


def test_what_was_revealed_by_us_while_it_was_not_ready_is_adopted_when_it_is(
    worker: Start, scene: Scene
) -> None:
    """Its batch is confirmed long since: nothing is left to enter, and nobody asks for ever."""
    drain, _ = reveal(worker, scene, 2)
    Token.objects.update(status=TokenStatus.READY, reveal_tx_hash=None, revealed_at=None)
    drain.until(lambda: Token.objects.filter(status=TokenStatus.REVEALED).count() == 2)
    assert statuses() == ["confirmed"]


def test_all_tokens_of_a_transaction_of_ours_are_named(worker: Start, scene: Scene) -> None:
    drain, tokens = reveal(worker, scene, 2)
    drain.crash()
    RevealBatch.objects.update(status="superseded")
    RevealTransaction.objects.update(status="replaced")
    Token.objects.update(status=TokenStatus.READY, reveal_tx_hash=None, revealed_at=None)
    report = reconcile_reveals(ChainClient.from_settings(), actor="operator")
    assert report == {token.token_id: Found.CONFIRMED for token in tokens}
    assert scene.revealed_once(tokens)


def test_revealed_between_the_facts_and_the_simulation(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contract names the first offender only; the second is searched for."""
    tokens = scene.mint(6)
    facts = ChainClient.reveal_facts

    def and_then_somebody_reveals(self: ChainClient, **question: Any) -> Any:
        found = facts(self, **question)
        if not scene.chain.is_revealed(tokens[1].token_id):
            theirs = [tokens[1], tokens[4]]
            scene.chain.wait(
                scene.chain.reveal(
                    0, [t.token_id for t in theirs], [str(theirs[0].token_uri), "ipfs://foreign"]
                )
            )
        return found

    monkeypatch.setattr(ChainClient, "reveal_facts", and_then_somebody_reveals)
    drain = worker()
    drain.until(is_failed(tokens[4]))
    drain.until(lambda: Token.objects.filter(status=TokenStatus.REVEALED).count() == 5)
    assert statuses() == ["confirmed"]
    assert transactions()[0].token_ids == [tokens[i].token_id for i in (0, 2, 3, 5)]


def test_a_node_that_contradicts_itself_is_asked_again(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of it lags behind the other, or a reorg came in between."""
    (token,) = scene.mint()
    before = scene.chain.snapshot()
    scene.chain.wait(scene.chain.reveal(0, [token.token_id], ["ipfs://foreign"]))
    drain = worker()
    ask_chain = reconcile.ask_chain

    def after_a_reorg(chain: ChainClient, questions: Sequence[Question]) -> list[Answer]:
        scene.chain.revert(before)
        return ask_chain(chain, questions)

    monkeypatch.setattr(reconcile, "ask_chain", after_a_reorg)
    drain.until(lambda: Token.objects.get(pk=token.pk).error_class == "already_revealed")
    drain.until(lambda: scene.revealed_once([token]))
    (waited,) = TokenTransition.objects.filter(token=token, to_status="ready")
    assert "revealed and that it is not" in waited.reason
