"""An image is found wherever a model puts it; a success without one is paid for once."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pytest_django import Settings

from glisk.pauses import list_pauses
from tokens.models.job import JobStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Start, Vendors, is_failed, is_ready, job_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("shape", ["string", "deep"])
def test_the_image_is_found_in_any_shape_of_output(
    worker: Start, vendors: Vendors, shape: str
) -> None:
    vendors.replicate.set_faults(output_shape=shape)
    token = TokenFactory.create()
    worker().until(is_ready(token))
    assert vendors.paid == 1
    token.refresh_from_db()
    assert token.image_url == job_of(token).output_url
    assert (token.image_url or "").startswith(vendors.replicate.url)


def test_a_data_uri_is_an_image_too(worker: Start, vendors: Vendors) -> None:
    vendors.replicate.set_faults(output_shape="object", output_inline=True)
    token = TokenFactory.create()
    worker().until(is_ready(token))
    assert vendors.paid == 1
    token.refresh_from_db()
    # The bytes are kept once: not in the job as well, and not in what the API shows.
    assert (job_of(token).output_url, token.image_url) == ("data:image/webp;base64", None)


def test_an_image_inside_a_reply_may_be_larger_than_other_replies(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glisk.clients.replicate.REPLY_BYTES", 0)
    monkeypatch.setattr("glisk.clients.http.session.MAX_JSON_BYTES", 1000)
    vendors.replicate.set_faults(output_inline=True)
    token = TokenFactory.create()
    worker().until(is_ready(token))


def test_a_success_without_an_image_is_not_paid_again_and_counts_as_waste(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.GENERATION_PAUSE_AFTER_WASTED = 1
    vendors.replicate.set_faults(output_shape="empty")
    token = TokenFactory.create()
    worker().until(is_failed(token))
    token.refresh_from_db()
    assert [pause.stage for pause in list_pauses()] == ["generation"]
    assert vendors.paid == 1
    assert token.error_class == "no_image"
    assert "holds no image" in (token.generation_error or "")
    job = job_of(token)
    assert (job.status, job.cost_usd) == (JobStatus.FAILED, Decimal("0.003"))
