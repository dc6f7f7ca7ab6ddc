"""What the database refuses of tokens and what belongs to them, one rule each."""

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Model

from tokens.factories import MintEventFactory, TokenFactory, hash32
from tokens.models import ImageGenerationJob, IPFSUploadRecord, MintEvent, Token
from tokens.models.job import OPEN_JOB_STATUSES, JobStatus
from tokens.states import TokenStatus

pytestmark = pytest.mark.django_db

CID = "QmNv2Te3poKDS6kPeVUDbwXXsAY6FyFzC8xPxuBkJvDvdS"


def write(model: type[Model], pk: int, columns: dict[str, Any]) -> None:
    """Update a row by SQL, past all that the fields do for their values."""
    names = ", ".join(f"{name} = %s" for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {model._meta.db_table} SET {names} WHERE {model._meta.pk.column} = %s",
            [*columns.values(), pk],
        )


def refused(rule: str, kind: TokenStatus, **columns: Any) -> None:
    token = TokenFactory.create(status=kind)
    with pytest.raises(IntegrityError, match=rule), transaction.atomic():
        write(Token, token.pk, columns)


def test_an_unknown_state() -> None:
    refused("token_status_known", TokenStatus.DETECTED, status="lost")


def test_token_ids_begin_at_one() -> None:
    with pytest.raises(IntegrityError, match="token_id_from_1"), transaction.atomic():
        TokenFactory.create(token_id=0, mint_event=None)


def test_one_row_per_token_id() -> None:
    TokenFactory.create(token_id=7)
    with pytest.raises(IntegrityError, match="tokens_s0_pkey"), transaction.atomic():
        TokenFactory.create(token_id=7)


@pytest.mark.parametrize("column", ["prompt_author_wallet", "minter_address"])
@pytest.mark.parametrize("value", ["", "0x12", "not an address", "0X" + "1" * 40])
def test_addresses_have_their_form(column: str, value: str) -> None:
    refused("token_addresses", TokenStatus.DETECTED, **{column: value})


@pytest.mark.parametrize("status", [TokenStatus.UPLOADING, TokenStatus.READY, TokenStatus.REVEALED])
@pytest.mark.parametrize("value", [None, ""])
def test_an_image_cid_from_uploading_on(status: TokenStatus, value: str | None) -> None:
    refused("token_image_known_after_generation", status, image_cid=value)


@pytest.mark.parametrize("status", [TokenStatus.READY, TokenStatus.REVEALED])
@pytest.mark.parametrize("value", [None, ""])
def test_a_metadata_cid_from_ready_on(status: TokenStatus, value: str | None) -> None:
    refused("token_metadata_known_when_ready", status, metadata_cid=value)


@pytest.mark.parametrize("value", [None, "", "0x12", hash32(1).upper()])
def test_revealed_has_a_transaction(value: str | None) -> None:
    refused("token_revealed_has_transaction", TokenStatus.REVEALED, reveal_tx_hash=value)


@pytest.mark.parametrize(
    "status", [state for state in TokenStatus if state is not TokenStatus.REVEALED]
)
def test_only_revealed_has_a_transaction(status: TokenStatus) -> None:
    refused("token_revealed_has_transaction", status, reveal_tx_hash=hash32(1))


def test_a_lease_has_an_owner_and_an_end() -> None:
    refused("token_lease_is_whole", TokenStatus.GENERATING, lease_owner="somebody")
    refused("token_lease_is_whole", TokenStatus.GENERATING, lease_expires_at="2030-01-01T00:00Z")


@pytest.mark.parametrize("status", [TokenStatus.REVEALED, TokenStatus.FAILED])
def test_nobody_holds_a_lease_of_what_is_over(status: TokenStatus) -> None:
    refused(
        "token_terminal_has_no_lease",
        status,
        lease_owner="somebody",
        lease_expires_at="2030-01-01T00:00Z",
    )


def _job(token: Token, **columns: Any) -> ImageGenerationJob:
    number = ImageGenerationJob.objects.count() + 1
    defaults: dict[str, Any] = {
        "prompt": "a fox",
        "input": {"prompt": "a fox"},
        "service": "replicate",
        "model": "m/n",
        "attempt_number": number,
        "external_id": f"prediction{number}",
        "status": JobStatus.SUBMITTED,
    }
    return ImageGenerationJob.objects.create(token=token, **{**defaults, **columns})


@pytest.mark.parametrize("first", OPEN_JOB_STATUSES)
@pytest.mark.parametrize("second", OPEN_JOB_STATUSES)
def test_one_open_job_per_token(first: JobStatus, second: JobStatus) -> None:
    token = TokenFactory.create(status=TokenStatus.GENERATING)
    _job(token, status=first)
    with (
        pytest.raises(IntegrityError, match="generation_job_one_open_per_token"),
        transaction.atomic(),
    ):
        _job(token, status=second)


def test_closed_jobs_leave_room_for_another() -> None:
    token = TokenFactory.create(status=TokenStatus.GENERATING)
    for status in (JobStatus.CAPTURED, JobStatus.FAILED, JobStatus.REJECTED, JobStatus.CREATED):
        _job(token, status=status)
    assert ImageGenerationJob.objects.count() == 4


def test_a_prediction_belongs_to_one_job() -> None:
    tokens = TokenFactory.create_batch(2, status=TokenStatus.GENERATING)
    _job(tokens[0], external_id="same")
    with (
        pytest.raises(IntegrityError, match="generation_job_external_id_unique"),
        transaction.atomic(),
    ):
        _job(tokens[1], external_id="same")


@pytest.mark.parametrize(
    "status", [JobStatus.SUBMITTED, JobStatus.SUCCEEDED, JobStatus.ERRORED, JobStatus.CAPTURED]
)
def test_what_the_vendor_has_has_its_id(status: JobStatus) -> None:
    token = TokenFactory.create(status=TokenStatus.GENERATING)
    with (
        pytest.raises(IntegrityError, match="generation_job_submitted_has_id"),
        transaction.atomic(),
    ):
        _job(token, status=status, external_id=None)


def test_a_successful_upload_has_the_computed_cid() -> None:
    token = TokenFactory.create(status=TokenStatus.UPLOADING)
    with (
        pytest.raises(IntegrityError, match="upload_record_success_means_equal_cids"),
        transaction.atomic(),
    ):
        IPFSUploadRecord.objects.create(
            token=token,
            upload_type="image",
            computed_cid=CID,
            returned_cid="QmOther",
            size_bytes=1,
            attempt_number=1,
            status="succeeded",
        )


@pytest.mark.parametrize(
    ("rule", "columns"),
    [
        ("mint_event_hashes", {"tx_hash": "0x12"}),
        ("mint_event_hashes", {"block_hash": hash32(1).upper()}),
        ("mint_event_addresses", {"minter": "0x12"}),
        ("mint_event_addresses", {"prompt_author": ""}),
        ("mint_event_range", {"quantity": 0}),
        ("mint_event_range", {"quantity": 51}),
        ("mint_event_range", {"start_token_id": 0}),
    ],
)
def test_mints_have_their_form(rule: str, columns: dict[str, Any]) -> None:
    mint = MintEventFactory.create()
    with pytest.raises(IntegrityError, match=rule), transaction.atomic():
        write(MintEvent, mint.pk, columns)


def test_a_log_is_stored_once() -> None:
    MintEventFactory.create(tx_hash=hash32(9), log_index=3)
    with pytest.raises(IntegrityError, match="mint_event_log_unique"), transaction.atomic():
        MintEventFactory.create(tx_hash=hash32(9), log_index=3)
