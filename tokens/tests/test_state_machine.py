"""The map of states: what the methods, the bulk moves and the documentation make of it."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tokens.models import Token, TokenTransition
from tokens.states import (
    ACTIVE,
    ADOPTIONS,
    RECALLS,
    REPAIRS,
    TERMINAL,
    TRANSITIONS,
    InvalidStateTransition,
    Map,
    TokenStatus,
)
from tokens.tests.factories import TokenFactory, hash32
from tokens.transitions.status import Move, move_tokens

CID = "QmNv2Te3poKDS6kPeVUDbwXXsAY6FyFzC8xPxuBkJvDvdS"
PAIRS = list(itertools.product(TokenStatus, TokenStatus))
# The columns that the database demands of each state.
FIELDS: dict[TokenStatus, dict[str, Any]] = {
    TokenStatus.UPLOADING: {"image_cid": CID},
    TokenStatus.READY: {"metadata_cid": CID},
    TokenStatus.REVEALED: {"reveal_tx_hash": hash32(5)},
    TokenStatus.FAILED: {"generation_error": "It is broken.", "error_class": "permanent"},
}


def mark(token: Token, target: TokenStatus) -> None:
    """Call the method that leads to a state."""
    if target is TokenStatus.GENERATING:
        token.mark_generating()
    elif target is TokenStatus.UPLOADING:
        token.mark_uploading(image_cid=CID)
    elif target is TokenStatus.READY:
        token.mark_ready(metadata_cid=CID)
    elif target is TokenStatus.REVEALED:
        token.mark_revealed(tx_hash=hash32(5))
    else:
        token.mark_failed("It is broken.", error_class="permanent")


def row(token: Token) -> dict[str, Any]:
    return dict(Token.objects.filter(pk=token.pk).values().get())


@pytest.mark.django_db
def test_a_method_moves_where_the_map_allows_and_nowhere_else() -> None:
    assert not any(TokenStatus.DETECTED in targets for targets in TRANSITIONS.values())
    for source, target in PAIRS:
        if target is TokenStatus.DETECTED:
            continue
        token = TokenFactory.create(status=source)
        before = row(token)
        timeline = TokenTransition.objects.filter(token=token)
        if target in TRANSITIONS[source]:
            mark(token, target)
            moved = timeline.get()
            assert (moved.from_status, moved.to_status) == (source, target)
            assert moved.actor == "operator"
            assert token.status == row(token)["status"] == target
            for name, value in FIELDS.get(target, {}).items():
                assert row(token)[name] == value
        else:
            with pytest.raises(InvalidStateTransition) as caught:
                mark(token, target)
            assert (caught.value.current, caught.value.target) == (source, target)
            assert caught.value.token_id == token.token_id
            assert row(token) == before
            assert not timeline.exists()


def moves_of(tokens: list[Token], target: TokenStatus) -> list[Move]:
    fields = FIELDS.get(target, {})
    if tokens[0].status == TokenStatus.REVEALED:
        fields = fields | {"reveal_tx_hash": None, "revealed_at": None}
    return [Move(token_id=token.token_id, reason="because", fields=fields) for token in tokens]


@pytest.mark.django_db
@pytest.mark.parametrize("allowed", [TRANSITIONS, ADOPTIONS, RECALLS, *REPAIRS.values()])
def test_a_bulk_move_obeys_its_map(allowed: Map) -> None:
    columns = {"image_cid": CID, "metadata_cid": CID}
    bystanders = {state: TokenFactory.create(status=state, **columns) for state in TokenStatus}
    before = [row(token) for token in bystanders.values()]
    for source, target in PAIRS:
        if target not in allowed.get(source, ()):
            moves = moves_of([bystanders[source]], target)
            with pytest.raises(InvalidStateTransition):
                move_tokens(moves, source=source, target=target, actor="test", allowed=allowed)
            continue
        tokens = TokenFactory.create_batch(2, status=source, **columns)
        moves = moves_of(tokens, target)
        moved = move_tokens(moves, source=source, target=target, actor="test", allowed=allowed)
        assert moved == {token.token_id for token in tokens}
        timeline = TokenTransition.objects.filter(token__in=tokens)
        written = timeline.values_list("from_status", "to_status", "reason")
        assert list(written) == [(source, target, "because")] * 2
        assert {row(token)["status"] for token in tokens} == {target}
    assert [row(token) for token in bystanders.values()] == before


@pytest.mark.django_db
def test_a_bulk_move_leaves_rows_of_other_states_alone() -> None:
    right = TokenFactory.create(status=TokenStatus.UPLOADING)
    wrong = [TokenFactory.create(status=s) for s in TokenStatus if s != TokenStatus.UPLOADING]
    before = [row(token) for token in wrong]
    moves = moves_of([right, *wrong], TokenStatus.READY)
    moved = move_tokens(moves, source=TokenStatus.UPLOADING, target=TokenStatus.READY, actor="test")
    assert moved == {right.token_id}
    assert [row(token) for token in wrong] == before
    assert TokenTransition.objects.count() == 1


@pytest.mark.django_db
def test_a_stale_object_cannot_move_a_token_that_somebody_moved_before() -> None:
    token = TokenFactory.create(status=TokenStatus.DETECTED)
    stale = Token.objects.get(pk=token.pk)
    token.mark_generating()
    with pytest.raises(InvalidStateTransition, match="from generating to generating"):
        stale.mark_generating()
    assert TokenTransition.objects.count() == 1


@pytest.mark.django_db
def test_the_moves_of_one_call_write_the_same_columns() -> None:
    tokens = TokenFactory.create_batch(2, status=TokenStatus.READY)
    moves = [
        Move(token_id=tokens[0].token_id, fields={"generation_error": "a"}),
        Move(token_id=tokens[1].token_id),
    ]
    with pytest.raises(ValueError, match="same columns"):
        move_tokens(moves, source=TokenStatus.READY, target=TokenStatus.FAILED, actor="test")
    assert not TokenTransition.objects.exists()


def test_every_state_is_in_the_map_and_ends_somewhere() -> None:
    assert set(TRANSITIONS) == set(TokenStatus)
    assert set(TokenStatus) == ACTIVE | TERMINAL
    assert {"revealed", "failed"} == TERMINAL
    assert all(TokenStatus.FAILED in TRANSITIONS[state] for state in ACTIVE)


def _page() -> str:
    return (Path(settings.BASE_DIR) / "docs" / "state-machine.md").read_text()


def test_the_documented_diagram_is_the_map() -> None:
    diagram = re.search(r"```mermaid\nstateDiagram-v2\n(.*?)```", _page(), re.DOTALL)
    assert diagram is not None
    arrows = re.findall(r"^\s+(\S+) --> (\S+)$", diagram[1], re.MULTILINE)
    inside = {(source, target) for source, target in arrows if "[*]" not in (source, target)}
    assert inside == {(s.value, t.value) for s, targets in TRANSITIONS.items() for t in targets}
    assert {target for source, target in arrows if source == "[*]"} == {"detected"}
    assert {source for source, target in arrows if target == "[*]"} == {s.value for s in TERMINAL}
    rows = re.findall(r"^\| `(\w+)` \|", _page(), re.MULTILINE)
    assert rows == [state.value for state in TokenStatus]


def test_the_documented_repairs_are_the_map() -> None:
    diagram = re.search(r"## By hand.*?stateDiagram-v2\n(.*?)```", _page(), re.DOTALL)
    assert diagram is not None
    arrows = re.findall(r"^\s+(\S+) --> (\S+): (.+)$", diagram[1], re.MULTILINE)
    documented = {
        (source, target, repair) for source, target, names in arrows for repair in names.split(", ")
    }
    assert documented == {
        (source.value, target.value, repair.value)
        for repair, targets in REPAIRS.items()
        for source, reached in targets.items()
        for target in reached
    }
