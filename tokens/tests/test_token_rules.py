"""What the database refuses of tokens and what belongs to them, one rule each."""

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Model

from tokens.models import ImageGenerationJob, IPFSUploadRecord, MintEvent, Token
from tokens.models.job import OPEN_JOB_STATUSES, JobStatus
from tokens.states import TokenStatus
from tokens.tests.factories import MintEventFactory, TokenFactory, hash32

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


S = TokenStatus
LEASE = {"lease_owner": "somebody", "lease_expires_at": "2030-01-01T00:00Z"}
# The rule, the states for which it is tried, and values of columns that break it.
TOKENS: list[tuple[str, list[TokenStatus], list[dict[str, Any]]]] = [
    ("token_status_known", [S.DETECTED], [{"status": "lost"}]),
    (
        "token_addresses",
        [S.DETECTED],
        [
            {column: value}
            for column in ("prompt_author_wallet", "minter_address")
            for value in ("", "0x12", "not an address", "0X" + "1" * 40)
        ],
    ),
    (
        "token_image_known_after_generation",
        [S.UPLOADING, S.READY, S.REVEALED],
        [{"image_cid": None}, {"image_cid": ""}],
    ),
    (
        "token_metadata_known_when_ready",
        [S.READY, S.REVEALED],
        [{"metadata_cid": None}, {"metadata_cid": ""}],
    ),
    (
        "token_revealed_has_transaction",
        [S.REVEALED],
        [{"reveal_tx_hash": value} for value in (None, "", "0x12", hash32(1).upper())],
    ),
    (
        "token_revealed_has_transaction",
        [state for state in S if state is not S.REVEALED],
        [{"reveal_tx_hash": hash32(1)}],
    ),
    ("token_lease_is_whole", [S.GENERATING], [{name: value} for name, value in LEASE.items()]),
    ("token_terminal_has_no_lease", [S.REVEALED, S.FAILED], [LEASE]),
]


@pytest.mark.parametrize(("rule", "states", "broken"), TOKENS)
def test_a_token_keeps_the_rule(
    rule: str, states: list[TokenStatus], broken: list[dict[str, Any]]
) -> None:
    for state in states:
        token = TokenFactory.create(status=state)
        for columns in broken:
            with pytest.raises(IntegrityError, match=rule), transaction.atomic():
                write(Token, token.pk, columns)


def test_token_ids_begin_at_one_and_name_one_row() -> None:
    TokenFactory.create(token_id=7)
    for token_id, rule in ((0, "token_id_from_1"), (7, "tokens_s0_pkey")):
        with pytest.raises(IntegrityError, match=rule), transaction.atomic():
            TokenFactory.create(token_id=token_id, mint_event=None)


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
def test_one_open_job_per_token(first: JobStatus) -> None:
    token = TokenFactory.create(status=TokenStatus.GENERATING)
    _job(token, status=first)
    rule = "generation_job_one_open_per_token"
    for second in OPEN_JOB_STATUSES:
        with pytest.raises(IntegrityError, match=rule), transaction.atomic():
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


def test_what_the_vendor_has_has_its_id() -> None:
    token = TokenFactory.create(status=TokenStatus.GENERATING)
    rule = "generation_job_submitted_has_id"
    for status in ("submitted", "succeeded", "errored", "captured"):
        with pytest.raises(IntegrityError, match=rule), transaction.atomic():
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


def test_mints_have_their_form() -> None:
    mint = MintEventFactory.create()
    broken: list[tuple[str, dict[str, Any]]] = [
        ("mint_event_hashes", {"tx_hash": "0x12"}),
        ("mint_event_hashes", {"block_hash": hash32(1).upper()}),
        ("mint_event_addresses", {"minter": "0x12"}),
        ("mint_event_addresses", {"prompt_author": ""}),
        ("mint_event_range", {"quantity": 0}),
        ("mint_event_range", {"quantity": 51}),
        ("mint_event_range", {"start_token_id": 0}),
    ]
    for rule, columns in broken:
        with pytest.raises(IntegrityError, match=rule), transaction.atomic():
            write(MintEvent, mint.pk, columns)


def test_a_log_is_stored_once() -> None:
    MintEventFactory.create(tx_hash=hash32(9), log_index=3)
    with pytest.raises(IntegrityError, match="mint_event_log_unique"), transaction.atomic():
        MintEventFactory.create(tx_hash=hash32(9), log_index=3)
