"""From stored bytes to two pinned files under the CIDs that we computed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
import structlog

from authors.tests.factories import AuthorFactory
from glisk.cid import compute_cid
from glisk.timing import timing
from sandbox.http import Kind, json_response
from tokens.models import ImageGenerationJob, IPFSUploadRecord, Token, TokenImage
from tokens.pipeline.collect import build_metadata
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Start, Vendors, is_failed, is_open, is_ready

pytestmark = pytest.mark.django_db

PIN = "/pinning/pinFileToIPFS$"


@pytest.fixture
def stored(vendors: Vendors) -> Callable[..., Token]:
    """Make tokens whose image is in the database, as a worker that died left them."""

    def make(**columns: object) -> Token:
        token: Token = TokenFactory.create(status=TokenStatus.UPLOADING, **columns)
        data = b"bytes of image %d" % token.token_id
        token.image_cid = compute_cid(data, version=1)
        token.metadata_text = build_metadata(
            token_id=token.token_id,
            image_cid=token.image_cid,
            twitter_handle=token.author.twitter_handle,
            farcaster_handle=token.author.farcaster_handle,
        )
        token.save()
        TokenImage.objects.create(
            token=token,
            data=data,
            mime_type="image/webp",
            extension="webp",
            width=96,
            height=96,
            size_bytes=len(data),
            sha256="0" * 64,
        )
        return token

    return make


Stored = Callable[..., Token]


def records(token: Token) -> list[tuple[str, str, int]]:
    found = IPFSUploadRecord.objects.filter(token=token).order_by("pk")
    return list(found.values_list("upload_type", "status", "attempt_number"))


@pytest.mark.fast
def test_both_files_are_pinned_under_our_cids(worker: Start, vendors: Vendors) -> None:
    author = AuthorFactory.create(twitter_handle="painter", farcaster_handle="@brush")
    token = TokenFactory.create(author=author)
    worker().until(is_ready(token))
    token.refresh_from_db()
    pins = {pin.name: pin for pin in vendors.pinata.pins}
    image = pins[f"s0-token-{token.token_id}.webp"]
    metadata = pins[f"s0-token-{token.token_id}-metadata.json"]
    assert image.cid == token.image_cid
    assert metadata.cid == token.metadata_cid
    assert str(token.metadata_cid).startswith("Qm")
    assert image.keyvalues == {"season": "0", "token_id": str(token.token_id)}
    assert metadata.keyvalues == image.keyvalues
    assert sorted(records(token)) == [("image", "succeeded", 1), ("metadata", "succeeded", 1)]
    for record in IPFSUploadRecord.objects.all():
        assert record.returned_cid == record.computed_cid
    text = build_metadata(
        token_id=token.token_id,
        image_cid=str(token.image_cid),
        twitter_handle="painter",
        farcaster_handle="@brush",
        model="black-forest-labs/flux-schnell",
        origin=json.loads(token.metadata_text or "")["provenance"],
    )
    assert vendors.store.read(metadata.cid) == text.encode()
    assert token.metadata_text == text


@pytest.mark.parametrize("fault", ["server_error", "drop_after", "error_after"])
def test_only_what_is_missing_is_sent_again(
    worker: Start, vendors: Vendors, stored: Stored, fault: Kind
) -> None:
    vendors.pinata.plan_fault(fault, scope=PIN)
    token = stored()
    worker().until(is_ready(token))
    assert len(vendors.pinata.calls) == 3
    assert len({pin.cid for pin in vendors.pinata.pins}) == len(vendors.pinata.pins) == 2
    (failed,) = [kind for kind, status, _ in records(token) if status == "failed"]
    assert [kind for kind, _, number in records(token) if number == 2] == [failed]


@pytest.mark.parametrize("pinned", [["image"], ["image", "metadata"]])
def test_what_a_dead_worker_has_pinned_is_not_sent_again(
    worker: Start, vendors: Vendors, stored: Stored, pinned: list[str]
) -> None:
    token = stored()
    cids = {
        "image": str(token.image_cid),
        "metadata": compute_cid((token.metadata_text or "").encode(), version=0),
    }
    for kind in pinned:
        IPFSUploadRecord.objects.create(
            token=token,
            upload_type=kind,
            computed_cid=cids[kind],
            returned_cid=cids[kind],
            size_bytes=1,
            attempt_number=1,
            status="succeeded",
        )
    worker().until(is_ready(token))
    token.refresh_from_db()
    assert token.metadata_cid == cids["metadata"]
    sent = [] if "metadata" in pinned else [f"s0-token-{token.token_id}-metadata.json"]
    assert [pin.name for pin in vendors.pinata.pins] == sent
    assert len(vendors.pinata.calls) == len(sent)


def test_another_cid_is_a_hard_stop(worker: Start, vendors: Vendors, stored: Stored) -> None:
    vendors.pinata.set_faults(wrong_cid_rate=1.0)
    token = stored()
    drain = worker()
    with structlog.testing.capture_logs() as logs:
        drain.until(is_failed(token))
    (alarm,) = [entry for entry in logs if entry["event"] == "cid_mismatch"]
    assert (alarm["log_level"], alarm["token_id"]) == ("critical", token.pk)
    token.refresh_from_db()
    assert token.error_class == "cid_mismatch"
    assert "nothing is revealed" in (token.generation_error or "")
    assert token.metadata_cid is None
    assert {name for _, name, _ in records(token)} == {"mismatch"}
    for record in IPFSUploadRecord.objects.all():
        assert record.returned_cid not in ("", record.computed_cid)


def test_an_answer_that_no_column_can_hold_stops_one_token_only(
    worker: Start, vendors: Vendors, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_real = vendors.pinata.pinned

    def odd(pin: Any, *, duplicate: bool) -> object:
        response = as_real(pin, duplicate=duplicate)
        if b"token-1" in str(pin).encode():
            response = json_response({"IpfsHash": "Qm\0" + "x" * 300, "PinSize": 3})
        return response

    monkeypatch.setattr(vendors.pinata, "pinned", odd)
    bad, good = stored(token_id=1, mint_event=None), stored(token_id=2, mint_event=None)
    drain = worker()
    drain.until(is_ready(good))
    drain.until(is_failed(bad))


def test_a_refused_key_pauses_the_stage_and_fails_no_token(
    worker: Start, vendors: Vendors, stored: Stored
) -> None:
    vendors.pinata.set_faults(no_scopes=True)
    tokens = [stored() for _ in range(3)]
    drain = worker()
    drain.until(lambda: is_open("pinata"))
    drain.settle(0.6)
    assert Token.objects.filter(status=TokenStatus.UPLOADING).count() == 3
    assert {token.error_class for token in Token.objects.all()} <= {"account", "vendor_down"}
    vendors.pinata.set_faults(no_scopes=False)
    drain.until(is_ready(*tokens))


def test_pinata_may_be_down_for_longer_than_replicate_keeps_its_files(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage of hours, played in moments: what was paid for is what is revealed."""
    # The worker that is killed may have the breaker's probe.
    monkeypatch.setattr(timing, "probe_window", 1.0)
    vendors.pinata.set_faults(server_error_rate=1.0, server_error_status=503)
    tokens = TokenFactory.create_batch(5)
    first = worker()
    first.until(lambda: TokenImage.objects.count() == 5)
    first.until(lambda: is_open("pinata"))
    made = {image.pk: bytes(image.data or b"") for image in TokenImage.objects.all()}
    urls = [str(job.output_url) for job in ImageGenerationJob.objects.all()]
    vendors.replicate.set_faults(data_removed=True)
    monkeypatch.setattr("tokens.pipeline.jobs.OUTPUT_LIFETIME_SECONDS", 0.0)
    # Nothing is left at the vendor, and nothing in a worker's memory.
    assert {requests.get(url, timeout=60).status_code for url in urls} == {404}
    first.settle(0.3)
    first.crash()
    Token.objects.update(lease_owner=None, lease_expires_at=None)
    vendors.pinata.set_faults(server_error_rate=0.0)
    worker().until(is_ready(*tokens))
    for token in Token.objects.all():
        assert vendors.store.read(str(token.image_cid)) == made[token.pk]
        assert vendors.store.read(str(token.metadata_cid)) == str(token.metadata_text).encode()
        assert token.generation_attempts == 1
    assert vendors.paid == len(vendors.predictions) == 5


def test_bytes_that_are_gone_fail_the_token_with_what_to_do(
    worker: Start, vendors: Vendors
) -> None:
    token = TokenFactory.create(status=TokenStatus.UPLOADING)
    worker().until(is_failed(token))
    token.refresh_from_db()
    assert "regenerate" in (token.generation_error or "")
