"""What the database refuses of tokens and what belongs to them, one rule each."""

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Model

from tokens.models import ImageGenerationJob, IPFSUploadRecord
from tokens.models.job import OPEN_JOB_STATUSES, JobStatus
from tokens.states import TokenStatus
from tokens.tests.factories import MintEventFactory, TokenFactory, hash32
from tokens.tests.repairs.stock import add_job

pytestmark = pytest.mark.django_db


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
            refuse(rule, token, **columns)


def test_token_ids_begin_at_one_and_name_one_row() -> None:
    TokenFactory.create(token_id=7)
    for token_id, rule in ((0, "token_id_from_1"), (7, "tokens_s0_pkey")):
        with pytest.raises(IntegrityError, match=rule), transaction.atomic():
            TokenFactory.create(token_id=token_id, mint_event=None)


def refuse(rule: str, row: Model, **columns: Any) -> None:
    with pytest.raises(IntegrityError, match=rule), transaction.atomic():
        write(type(row), row.pk, columns)


def test_a_token_has_one_open_job_and_a_prediction_belongs_to_one() -> None:
    tokens = TokenFactory.create_batch(2, status=TokenStatus.GENERATING)
    job, other = (add_job(token, JobStatus.SUBMITTED) for token in tokens)
    refuse("generation_job_external_id_unique", other, external_id=job.external_id)
    for status in ("submitted", "succeeded", "errored", "captured"):
        refuse("generation_job_submitted_has_id", job, status=status, external_id=None)
    closed = add_job(tokens[0], JobStatus.FAILED, external_id=None)
    for first in OPEN_JOB_STATUSES:
        write(ImageGenerationJob, job.pk, {"status": first})
        for second in OPEN_JOB_STATUSES:
            refuse(
                "generation_job_one_open_per_token", closed, status=second, external_id="another"
            )
    for status in (JobStatus.CAPTURED, JobStatus.FAILED, JobStatus.REJECTED):
        write(ImageGenerationJob, job.pk, {"status": status})
        write(ImageGenerationJob, closed.pk, {"status": JobStatus.CREATED})


def test_a_successful_upload_has_the_computed_cid() -> None:
    record = IPFSUploadRecord.objects.create(
        token=TokenFactory.create(),
        upload_type="image",
        computed_cid="a",
        returned_cid="another",
        size_bytes=1,
        attempt_number=1,
        status="mismatch",
    )
    refuse("upload_record_success_means_equal_cids", record, status="succeeded")


def test_mints_have_their_form_and_a_log_is_stored_once() -> None:
    mint, other = MintEventFactory.create_batch(2)
    log = {"tx_hash": other.tx_hash, "log_index": other.log_index}
    broken: list[tuple[str, dict[str, Any]]] = [
        ("mint_event_hashes", {"tx_hash": "0x12"}),
        ("mint_event_hashes", {"block_hash": hash32(1).upper()}),
        ("mint_event_addresses", {"minter": "0x12"}),
        ("mint_event_addresses", {"prompt_author": ""}),
        ("mint_event_range", {"quantity": 0}),
        ("mint_event_range", {"quantity": 51}),
        ("mint_event_range", {"start_token_id": 0}),
        ("mint_event_log_unique", log),
    ]
    for rule, columns in broken:
        refuse(rule, mint, **columns)
