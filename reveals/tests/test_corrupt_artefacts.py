"""Twelve ways in which a token may be wrong: none reaches a transaction, each names its reason."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from django.db import connection
from pytest_django import Settings

from reveals.models import RevealTransaction
from reveals.tests.stage import Scene
from sandbox.accounts import AUTHORS
from tokens.models import Token, TokenTransition
from tokens.pipeline.collect import build_metadata
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
        serve_image(HTML), "that are not that file", "artefact", False
    ),
    "truncated image": Corruption(truncated_image, "that are not that file", "artefact", False),
    "CID of another token": Corruption(
        other_tokens_cid, "name is not that of token", "artefact", True
    ),
    "swapped metadata": Corruption(swapped_metadata, "points to another image", "artefact", True),
    "ipfs://None": Corruption(none_uri, "'None' is not a CID", "artefact", True),
    "empty URI": Corruption(empty_uri, "'' is not a CID", "artefact", True),
    "404": Corruption(missing, "HTTP 404", "transient", False),
    "slow gateway": Corruption(slow, "took too long", "transient", False),
    "wrong token number": Corruption(wrong_number, "name is not that of token", "artefact", True),
    "unminted id": Corruption(unminted, "does not know this token", "not_minted", False),
    "other author": Corruption(other_author, "On chain the author is", "author_differs", True),
    "revealed token": Corruption(revealed, "revealed on chain already", "already_revealed", True),
}  # fmt: skip


def test_no_corrupt_token_reaches_a_transaction_and_each_names_its_reason(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    assert len(CORRUPTIONS) == 12
    settings.HTTP_READ_TIMEOUT_SECONDS = 2
    good, *others = scene.mint(13)
    innocent, bad = [good], dict[str, Token]()
    for (name, corruption), other in zip(CORRUPTIONS.items(), others, strict=True):
        bad[name] = corruption.spoil(scene, good, other) or other
        if bad[name] is not other:
            innocent.append(other)
    # Only what is large takes long.
    scene.gateway.set_faults(refuse_html=False, slow_rate=1.0, slow_bytes_per_second=100_000.0)
    drain = worker()
    drain.until(lambda: scene.revealed_once(innocent))
    noted = TokenTransition.objects.filter(token__in=bad.values())
    drain.until(lambda: noted.values("token").distinct().count() == len(bad))
    reached = {i for row in RevealTransaction.objects.all() for i in row.token_ids}
    assert reached == {token.token_id for token in innocent}
    for name, corruption in CORRUPTIONS.items():
        token = Token.objects.get(pk=bad[name].pk)
        assert scene.chain.is_revealed(token.token_id) is (name == "revealed token")
        reason = TokenTransition.objects.filter(token=token).latest("pk").reason
        assert corruption.reason in reason, name
        assert token.error_class == corruption.error_class, name
        assert token.status == ("failed" if corruption.final else "ready"), name
        # What is not final is tried again.
        assert (token.next_attempt_at is None) is corruption.final, name
