"""A token's metadata: what marketplaces expect, the same bytes for ever, version by version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pytest_django import Settings

from authors.tests.factories import AuthorFactory
from glisk.cid import compute_cid
from reveals.gate import metadata_fault
from tokens.models import ImageGenerationJob, Token, TokenImage, TokenTransition
from tokens.pipeline import collect
from tokens.pipeline.collect import METADATA_VERSION, build_metadata
from tokens.repairs import regenerate_tokens
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Start, Vendors, has_status, is_ready

SCHEMA = json.loads((Path(__file__).parent / "data" / "token_metadata.schema.json").read_text())
IMAGE = "bafkreib7iuxn6dmu4qki7ibjr2arn7dp5y7etonjbsqjnu2oaccs6ymmfe"


def build(**changes: Any) -> str:
    given: dict[str, Any] = {
        "token_id": 7,
        "image_cid": IMAGE,
        "twitter_handle": None,
        "farcaster_handle": None,
        "model": "black-forest-labs/flux-schnell",
    }
    return build_metadata(**(given | changes))


def traits(text: str) -> dict[str, str]:
    return {entry["trait_type"]: entry["value"] for entry in json.loads(text)["attributes"]}


def test_the_bytes_are_these() -> None:
    """A change of one byte is a new METADATA_VERSION."""
    assert METADATA_VERSION == 3
    assert build(twitter_handle="painter", farcaster_handle="brush") == (
        '{"attributes":[{"trait_type":"Author X Handle","value":"@painter"},'
        '{"trait_type":"Author Farcaster Handle","value":"@brush"},'
        '{"trait_type":"Season","value":"0"},'
        '{"trait_type":"Model","value":"black-forest-labs/flux-schnell"}],'
        '"description":"GLISK Season 0. https://x.com/getglisk",'
        f'"image":"ipfs://{IMAGE}","name":"GLISK S0 #7"}}'
    )
    assert build(origin={"seed": 5}) == build()[:-1] + ',"provenance":{"seed":5}}'


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"twitter_handle": "painter"},
        {"twitter_handle": "@painter", "farcaster_handle": "brush.eth"},
        {"model": ""},
        {"twitter_handle": "имя-ñ-漢字", "token_id": 2**63 - 1},
    ],
)
def test_it_is_what_marketplaces_expect(changes: dict[str, Any]) -> None:
    text = build(**changes)
    jsonschema.validate(json.loads(text), SCHEMA, jsonschema.Draft202012Validator)
    token_id = changes.get("token_id", 7)
    assert metadata_fault(text.encode(), token_id=token_id, image_cid=IMAGE) is None
    assert json.dumps(json.loads(text), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert " :" not in text


def test_only_what_is_known_stands_there() -> None:
    """A handle that is linked, with one sign; the model without its version."""
    assert traits(build()) == {"Season": "0", "Model": "black-forest-labs/flux-schnell"}
    both = traits(build(twitter_handle="@painter", farcaster_handle=" "))
    assert both["Author X Handle"] == "@painter"
    assert "Author Farcaster Handle" not in both
    assert traits(build(model="stability-ai/sdxl:" + "a" * 64))["Model"] == "stability-ai/sdxl"
    assert traits(build(model="b" * 64))["Model"] == "b" * 64


def test_season_name_and_description_are_settings(settings: Settings) -> None:
    settings.SEASON, settings.COLLECTION_NAME = 3, "ATELIER"
    settings.METADATA_DESCRIPTION = "Painted."
    text = build()
    assert json.loads(text)["name"] == "ATELIER S3 #7"
    assert json.loads(text)["description"] == "Painted."
    assert traits(text)["Season"] == "3"


# -- on a token's way -------------------------------------------------------------------


@pytest.mark.django_db
def test_the_model_is_the_one_that_made_the_image(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    """A restart with another model in between changes nothing."""
    token = TokenFactory.create()
    first = worker()
    first.until(lambda: ImageGenerationJob.objects.filter(status="submitted").exists())
    first.stop()
    settings.REPLICATE_MODEL_VERSION = "stability-ai/sdxl"
    worker().until(is_ready(token))
    token.refresh_from_db()
    assert traits(token.metadata_text or "")["Model"] == "black-forest-labs/flux-schnell"
    stored = vendors.store.read(str(token.metadata_cid)) or b""
    jsonschema.validate(json.loads(stored), SCHEMA, jsonschema.Draft202012Validator)
    moved = TokenTransition.objects.get(token=token, to_status="uploading")
    assert moved.detail["metadata_version"] == METADATA_VERSION


@pytest.mark.django_db
def test_a_new_version_of_the_code_changes_no_stored_metadata(
    worker: Start, vendors: Vendors, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    author = AuthorFactory.create(twitter_handle="painter")
    settings.ENABLE_IPFS_WORKER = False
    waiting, done = TokenFactory.create(author=author), TokenFactory.create(author=author)
    first = worker()
    first.until(has_status(TokenStatus.UPLOADING, waiting, done))
    first.stop()
    settings.ENABLE_IPFS_WORKER = True
    Token.objects.filter(pk=waiting.pk).update(next_attempt_at="2100-01-01T00:00Z")
    second = worker()
    second.until(is_ready(done))
    second.stop()
    texts = dict(Token.objects.values_list("pk", "metadata_text"))
    cid = Token.objects.get(pk=done.pk).metadata_cid
    pins = len(vendors.pinata.pins)

    def of_version_4(**facts: Any) -> str:
        return json.dumps({"name": f"new #{facts['token_id']}", "attributes": []})

    monkeypatch.setattr(collect, "METADATA_VERSION", 4)
    monkeypatch.setattr(collect, "build_metadata", of_version_4)
    settings.METADATA_DESCRIPTION, settings.SEASON = "Another text", 1
    author.twitter_handle = "another"
    author.save()
    Token.objects.filter(pk=waiting.pk).update(next_attempt_at=None)
    third = worker()
    third.until(is_ready(waiting))
    third.settle(0.2)
    assert dict(Token.objects.values_list("pk", "metadata_text")) == texts
    assert Token.objects.get(pk=done.pk).metadata_cid == cid
    expected = compute_cid(str(texts[waiting.pk]).encode(), version=0)
    assert Token.objects.get(pk=waiting.pk).metadata_cid == expected
    assert len(vendors.pinata.pins) == pins + 2
    # Only a new image gets what the code writes now.
    regenerate_tokens(token_ids=[done.pk], actor="operator alice", reason="odd")
    third.until(is_ready(done))
    assert Token.objects.get(pk=done.pk).metadata_text == of_version_4(token_id=done.pk)


@pytest.mark.django_db
@pytest.mark.parametrize("version", [0, 1])
def test_an_image_is_pinned_under_the_version_it_was_captured_with(
    worker: Start, vendors: Vendors, settings: Settings, version: int
) -> None:
    settings.ENABLE_IPFS_WORKER, settings.IMAGE_CID_VERSION = False, version
    token = TokenFactory.create()
    first = worker()
    first.until(has_status(TokenStatus.UPLOADING, token))
    first.stop()
    settings.ENABLE_IPFS_WORKER, settings.IMAGE_CID_VERSION = True, 1 - version
    worker().until(is_ready(token))
    data = bytes(TokenImage.objects.get().data or b"")
    token.refresh_from_db()
    assert token.image_cid == compute_cid(data, version=1 if version else 0)
