"""Images that are paid for in vain, one after the other, stop the paying."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from glisk.pauses import list_pauses, resume_stage
from tokens.models import ImageGenerationJob, Token
from tokens.models.job import JobStatus
from tokens.pipeline.failures import pause_if_wasted
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Start, Vendors, is_failed, is_ready

pytestmark = pytest.mark.django_db


NO_OUTPUT = {"crashed": "transient", "empty": "no_image", "refused": "content_policy"}
OUTPUT = {"kept": "", "blank": "content_policy"}


def ended(*ends: str) -> None:
    """Write jobs that ended so, oldest first: kept, wasted, blank (refused), or without output."""
    for number, end in enumerate(ends):
        ImageGenerationJob.objects.create(
            token_id=TokenFactory.create().pk,
            prompt="p",
            input={},
            service="replicate",
            model="a/b",
            external_id=f"x{ImageGenerationJob.objects.count()}",
            attempt_number=1,
            status=JobStatus.CAPTURED if end == "kept" else JobStatus.FAILED,
            output_url=None if end in NO_OUTPUT else "https://replicate.delivery/x.webp",
            error_class=NO_OUTPUT.get(end) or OUTPUT.get(end, "artefact"),
            completed_at=timezone.now() - timedelta(seconds=60 - number),
        )


@pytest.mark.parametrize(
    ("ends", "is_paused", "limit"),
    [
        (["wasted"] * 3, True, 3),
        (["wasted", "blank", "wasted", "crashed", "wasted"], True, 3),
        (["empty", "wasted", "refused", "empty"], True, 3),
        (["wasted", "wasted", "kept", "wasted", "wasted"], False, 3),
        (["blank"] * 5, False, 3),
        (["crashed"] * 5, False, 3),
        (["empty", "kept", "empty", "empty"], False, 3),
        (["wasted"] * 20, False, 0),
    ],
)
def test_only_a_row_of_wasted_images_pauses(
    settings: Settings, ends: list[str], is_paused: bool, limit: int
) -> None:
    settings.GENERATION_PAUSE_AFTER_WASTED = limit
    ended(*ends)
    assert pause_if_wasted("output: too large.") is is_paused
    assert [pause.stage for pause in list_pauses()] == ["generation"] * is_paused


def test_a_pause_says_what_to_do_and_a_resume_begins_the_count_anew(settings: Settings) -> None:
    settings.GENERATION_PAUSE_AFTER_WASTED = 2
    ended("wasted", "wasted")
    assert pause_if_wasted("output: too large.")
    assert not pause_if_wasted("output: too large."), "it is paused already"
    (pause,) = list_pauses()
    assert pause.actor == "spend guard"
    for said in ("last 2 images", "output: too large.", "resume the generation"):
        assert said in pause.reason
    resume_stage("generation", actor="ada", reason="the host is allowed now")
    assert not pause_if_wasted("p")


def test_a_host_that_is_not_allowed_costs_a_few_images_and_no_more(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    """An operator's mistake; when it is mended, nothing is paid for twice."""
    hosts = settings.REPLICATE_OUTPUT_HOSTS
    settings.REPLICATE_OUTPUT_HOSTS = ["replicate.delivery"]
    settings.GENERATION_PAUSE_AFTER_WASTED = 3
    settings.WORKER_BATCH_SIZE = 1
    tokens = TokenFactory.create_batch(8)
    drain = worker()
    drain.until(list_pauses)
    drain.settle(0.3)
    paid = vendors.paid
    assert 3 <= paid < 8
    failed = Token.objects.filter(status="failed")
    drain.until(lambda: failed.count() == paid)
    drain.stop()
    settings.REPLICATE_OUTPUT_HOSTS = hosts
    resume_stage("generation", actor="ada", reason="the host is allowed now")
    worker().until(is_ready(*[token for token in tokens if token not in failed.all()]))
    assert vendors.paid == 8
    assert is_failed(*failed)()
