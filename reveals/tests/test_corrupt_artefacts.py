"""Twelve ways in which a token may be wrong: none reaches a transaction, each names its reason."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from django.db import connection
from pytest_django import Settings

from reveals.models import RevealTransaction
from reveals.tests.stage import Scene
from sandbox.accounts import AUTHORS
from tokens.models import Token, TokenTransition
from tokens.pipeline.metadata import build_metadata
from tokens.states import TokenStatus
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db

HTML = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"
LARGE = b"\x89PNG" + bytes(300_000)


@dataclass(frozen=True)
class Corruption:
    """`spoil` gets a good and a bad token, and returns the one that must not be revealed."""

    spoil: Callable[[Scene, Token, Token], Token | None]
    reason: str
    error_class: str
    final: bool
    faults: dict[str, object] = field(default_factory=dict)


def serve_image(data: bytes) -> Callable[[Scene, Token, Token], None]:
    def spoil(scene: Scene, good: Token, bad: Token) -> None:
        scene.store.delete(str(bad.image_cid))
        scene.store.write(str(bad.image_cid), data)

    return spoil


def truncated_image(scene: Scene, good: Token, bad: Token) -> None:
    whole = scene.store.read(str(bad.image_cid)) or b""
    serve_image(whole[: len(whole) // 2])(scene, good, bad)


def set_columns(bad: Token, **columns: object) -> None:
    Token.objects.filter(pk=bad.pk).update(**columns)


def other_tokens_cid(scene: Scene, good: Token, bad: Token) -> None:
    set_columns(bad, metadata_cid=good.metadata_cid)


def other_metadata(scene: Scene, bad: Token, *, number: int, image_cid: str) -> None:
    text = build_metadata(
        token_id=number, image_cid=image_cid, twitter_handle=None, farcaster_handle=None
    )
    set_columns(bad, metadata_text=text, metadata_cid=scene.pin(text.encode(), version=0))


def swapped_metadata(scene: Scene, good: Token, bad: Token) -> None:
    other_metadata(scene, bad, number=bad.token_id, image_cid=str(good.image_cid))


def wrong_number(scene: Scene, good: Token, bad: Token) -> None:
    other_metadata(scene, bad, number=bad.token_id + 100, image_cid=str(bad.image_cid))


def none_uri(scene: Scene, good: Token, bad: Token) -> None:
    set_columns(bad, metadata_cid="None")


def empty_uri(scene: Scene, good: Token, bad: Token) -> None:
    """The database refuses it; without its rule the gate does."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE tokens_s0 DROP CONSTRAINT token_metadata_known_when_ready")
    set_columns(bad, metadata_cid="")


def missing(scene: Scene, good: Token, bad: Token) -> None:
    scene.store.delete(str(bad.metadata_cid))


def slow(scene: Scene, good: Token, bad: Token) -> None:
    cid = scene.pin(LARGE, version=1)
    set_columns(bad, image_cid=cid)
    other_metadata(scene, bad, number=bad.token_id, image_cid=cid)


def unminted(scene: Scene, good: Token, bad: Token) -> Token:
    facts = {"minted_at": good.mint_timestamp, "minter": good.minter_address}
    return scene._ready(999, good.author, event=None, **facts)


def other_author(scene: Scene, good: Token, bad: Token) -> None:
    set_columns(bad, prompt_author_wallet=AUTHORS[1].address)


def revealed(scene: Scene, good: Token, bad: Token) -> None:
    scene.chain.wait(scene.chain.reveal(0, [bad.token_id], ["ipfs://foreign"]))


CORRUPTIONS = {
    "HTML for the image": Corruption(
        serve_image(HTML), "that are not that file", "artefact", False, {"refuse_html": False}
    ),
    "truncated image": Corruption(truncated_image, "that are not that file", "artefact", False),
    "CID of another token": Corruption(
        other_tokens_cid, "name is not that of token", "artefact", True
    ),
    "swapped metadata": Corruption(swapped_metadata, "points to another image", "artefact", True),
    "ipfs://None": Corruption(none_uri, "'None' is not a CID", "artefact", True),
    "empty URI": Corruption(empty_uri, "'' is not a CID", "artefact", True),
    "404": Corruption(missing, "HTTP 404", "transient", False),
    "slow gateway": Corruption(
        slow, "took too long", "transient", False,
        {"slow_rate": 1.0, "slow_bytes_per_second": 10_000.0},
    ),
    "wrong token number": Corruption(wrong_number, "name is not that of token", "artefact", True),
    "unminted id": Corruption(unminted, "does not know this token", "not_minted", False),
    "other author": Corruption(other_author, "On chain the author is", "author_differs", True),
    "revealed token": Corruption(revealed, "revealed on chain already", "already_revealed", True),
}  # fmt: skip


def test_there_are_twelve() -> None:
    assert len(CORRUPTIONS) == 12


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corrupt_token_reaches_no_transaction_and_names_its_reason(
    worker: Start, scene: Scene, settings: Settings, name: str
) -> None:
    corruption = CORRUPTIONS[name]
    if "slow_rate" in corruption.faults:
        settings.HTTP_READ_TIMEOUT_SECONDS = 2
    good, other = scene.mint(2)
    bad = corruption.spoil(scene, good, other) or other
    scene.gateway.set_faults(**corruption.faults)
    innocent = [good] if bad is other else [good, other]
    drain = worker()
    drain.until(lambda: scene.revealed_once(innocent))
    drain.until(lambda: TokenTransition.objects.filter(token=bad).exists())
    reached = [row for row in RevealTransaction.objects.all() if bad.token_id in row.token_ids]
    assert reached == []
    assert scene.chain.is_revealed(bad.token_id) is (name == "revealed token")
    noted = TokenTransition.objects.filter(token=bad).latest("pk")
    assert corruption.reason in noted.reason
    bad.refresh_from_db()
    if name == "revealed token":
        assert bad.status in (TokenStatus.FAILED, TokenStatus.REVEALED)
        return
    assert bad.error_class == corruption.error_class
    assert bad.status == (TokenStatus.FAILED if corruption.final else TokenStatus.READY)
    assert (bad.next_attempt_at is None) is corruption.final  # what is not final is tried again
