"""The self-hosted server stands in for Replicate, and no token is at two services at once."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from glisk.errors import UnknownOutcomeError
from glisk.models import SystemState
from glisk.timing import timing
from sandbox.cog.emulator import CogEmulator
from sandbox.node import free_port
from sandbox.paint import Painter
from tokens.models import ImageGenerationJob, Token, TokenTransition
from tokens.models.job import JobService, JobStatus
from tokens.pipeline import jobs
from tokens.pipeline.image_vendors import spent_today
from tokens.pipeline.order import Order
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import CREATE, Start, Vendors, is_failed, is_ready, job_of

pytestmark = pytest.mark.django_db
PUT = "^PUT /predictions/"


@pytest.fixture(scope="module")
def _cog() -> Iterator[CogEmulator]:
    with CogEmulator(slots=2, generation_seconds=0.1, painter=Painter(image_size=96)) as server:
        yield server


@pytest.fixture
def cog(_cog: CogEmulator, vendors: Vendors, settings: Settings) -> CogEmulator:
    _cog.reset(state=True)
    _cog.slots = settings.SELFHOSTED_CONCURRENCY = 2
    settings.SELFHOSTED_IMAGE_API_URL = _cog.url
    settings.SELFHOSTED_MODEL = "own/flux"
    return _cog


@pytest.fixture
def chosen(cog: CogEmulator, settings: Settings) -> CogEmulator:
    settings.IMAGE_SERVICE = "selfhosted"
    return cog


def open_breaker(vendor: str, **facts: object) -> None:
    value = {"state": "open", "retry_at": "2999-01-01T00:00:00+00:00", "reason": "No.", **facts}
    SystemState.objects.update_or_create(
        state_key=f"breaker:{vendor}", defaults={"state_value": value}
    )


def services() -> list[str]:
    return list(ImageGenerationJob.objects.order_by("pk").values_list("service", flat=True))


def has_put(cog: CogEmulator, number: int) -> Callable[[], bool]:
    return lambda: sum(call.method == "PUT" for call in cog.calls) >= number


# -- who is asked ---------------------------------------------------------------------------


def test_a_chosen_server_makes_the_image(
    worker: Start, vendors: Vendors, chosen: CogEmulator
) -> None:
    tokens = TokenFactory.create_batch(3, prompt="a fox")
    worker().until(is_ready(*tokens))
    assert vendors.creations() == 0
    assert len(chosen.bill) == 3
    job = job_of(tokens[0])
    assert (job.service, job.model, job.status) == ("selfhosted", "own/flux", JobStatus.CAPTURED)
    assert job.external_id == f"glisk-{job.pk}-{job.input['seed']}"
    assert job.predict_time_seconds
    assert job.output_url is None  # the bytes came in the reply
    assert spent_today() == 0
    tokens[0].refresh_from_db()
    assert tokens[0].image.mime_type == "image/png"
    assert '"value":"own/flux"' in (tokens[0].metadata_text or "")


def test_while_replicate_refuses_the_account_it_takes_over(
    worker: Start, vendors: Vendors, cog: CogEmulator
) -> None:
    vendors.replicate.set_faults(account_refusal="insufficient_credit")
    tokens = TokenFactory.create_batch(4)
    drain = worker()
    drain.until(is_ready(*tokens))
    assert vendors.paid == 0
    assert len(cog.bill) == 4
    made = TokenTransition.objects.filter(to_status="uploading", detail__service="selfhosted")
    assert made.count() == 4
    assert {t.generation_attempts for t in Token.objects.all()} == {1}
    vendors.replicate.set_faults(account_refusal="")
    time.sleep(0.35)
    later = TokenFactory.create()
    drain.until(is_ready(later))
    more = TokenFactory.create_batch(2)
    drain.until(is_ready(*more))
    assert vendors.paid >= 2


def test_a_rate_limit_at_replicate_is_waited_for(
    worker: Start, vendors: Vendors, cog: CogEmulator
) -> None:
    vendors.replicate.plan_fault("throttle", scope=CREATE)
    tokens = TokenFactory.create_batch(2)
    worker().until(is_ready(*tokens))
    assert len(cog.bill) == 0


# -- exactly once -----------------------------------------------------------------------------


def test_an_unknown_outcome_at_replicate_is_settled_there_first(
    worker: Start, vendors: Vendors, cog: CogEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendors.replicate.plan_fault("drop_after", scope=CREATE)
    lost = TokenFactory.create()
    drain = worker()
    vendors.replicate.set_faults(list_refusal=503)
    with monkeypatch.context() as patch:  # it is looked for when the breaker is open
        patch.setattr(timing, "lookup_after", 3600.0)
        drain.step()
        drain.drain.turn(drain.finished())
        open_breaker("replicate")
    ImageGenerationJob.objects.update(look_at=None)
    others = TokenFactory.create_batch(12)
    drain.until(is_ready(*others))
    assert job_of(lost).status == JobStatus.CREATED
    assert job_of(lost).service == JobService.REPLICATE
    vendors.replicate.set_faults(list_refusal=0)
    drain.until(is_ready(lost))
    assert vendors.paid == 1
    assert len(cog.bill) == 12


def test_a_prediction_at_replicate_stays_there(
    worker: Start, vendors: Vendors, cog: CogEmulator
) -> None:
    token = TokenFactory.create()
    first = worker()
    first.until(lambda: ImageGenerationJob.objects.filter(status="submitted").exists())
    first.stop()
    open_breaker("replicate")
    worker().until(is_ready(token))
    assert services() == ["replicate"]
    assert len(cog.bill) == 0


@pytest.mark.parametrize("fault", ["drop_after", "drop_before", "error_after"])
def test_a_lost_reply_is_asked_for_again_by_the_same_id(
    worker: Start, vendors: Vendors, chosen: CogEmulator, fault: Any
) -> None:
    chosen.plan_fault(fault, scope=PUT)
    token = TokenFactory.create()
    worker().until(is_ready(token))
    ids = {call.path for call in chosen.calls if call.method == "PUT"}
    assert len(ids) == 1
    assert services() == ["selfhosted"]
    token.refresh_from_db()
    assert (token.generation_attempts, token.error_log) == (1, [])


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
def test_killed_in_the_middle_it_goes_on_with_the_same_job(
    worker: Start, vendors: Vendors, chosen: CogEmulator, ended: bool
) -> None:
    token = TokenFactory.create()
    first = worker()
    first.step()
    while not chosen.bill:  # it has been accepted, and may have ended by now
        time.sleep(0.01)
    if ended:
        first.finished()
    first.crash()
    Token.objects.update(lease_owner=None, lease_expires_at=None)
    worker().until(is_ready(token))
    assert services() == ["selfhosted"]
    assert {entry.key for entry in chosen.bill.entries} == {job_of(token).external_id}


def test_an_image_whose_saving_the_database_refused_is_taken_when_it_comes_again(
    worker: Start, vendors: Vendors, chosen: CogEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = TokenFactory.create()
    drain = worker()
    drain.step()
    results = drain.finished()

    def lose(*args: object, **facts: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "record_run", lose)
        with pytest.raises(OperationalError):
            drain.drain.turn(results)
    drain.drain.turn(results)  # the loop delivers them again
    drain.until(is_ready(token))
    assert len(chosen.bill) == 1


def test_a_server_that_is_not_configured_any_more_keeps_no_token(
    worker: Start, vendors: Vendors, chosen: CogEmulator, settings: Settings
) -> None:
    chosen.plan_fault("drop_before", times=1000, scope=PUT)
    token = TokenFactory.create()
    first = worker()
    first.until(has_put(chosen, 1))
    first.stop()
    settings.IMAGE_SERVICE, settings.SELFHOSTED_IMAGE_API_URL = "replicate", ""
    worker().until(is_ready(token))
    assert services() == ["selfhosted", "replicate"]


# -- faults ---------------------------------------------------------------------------------


def test_a_busy_server_costs_no_attempt(
    worker: Start, vendors: Vendors, chosen: CogEmulator, settings: Settings
) -> None:
    settings.SELFHOSTED_CONCURRENCY = 4  # more than it has
    chosen.slots = 0
    tokens = TokenFactory.create_batch(4)
    drain = worker()
    drain.until(lambda: any(call.status == 409 for call in chosen.calls))
    chosen.slots = 2
    drain.until(is_ready(*tokens))
    assert {(t.generation_attempts, len(t.error_log)) for t in Token.objects.all()} == {(1, 0)}


def test_what_takes_too_long_is_canceled_and_given_up(
    worker: Start, vendors: Vendors, chosen: CogEmulator, settings: Settings
) -> None:
    settings.GENERATION_TIMEOUT_SECONDS = 0.3
    settings.GENERATION_MAX_ATTEMPTS = 2
    token = TokenFactory.create(prompt="a never-ending story")
    drain = worker()
    drain.until(is_failed(token))
    drain.until(lambda: not chosen.running)
    assert [call.path.endswith("/cancel") for call in chosen.calls].count(True) >= 2
    assert services() == ["selfhosted", "selfhosted"]


@pytest.mark.parametrize(("output", "reason"), [("broken", "artefact"), ("foreign", "permanent")])
def test_bad_images_are_never_stored(
    worker: Start, vendors: Vendors, chosen: CogEmulator, output: str, reason: str
) -> None:
    chosen.set_faults(output=output)
    token = TokenFactory.create()
    worker().until(is_failed(token))
    token.refresh_from_db()
    assert token.error_class == reason
    assert token.image_cid is None
    assert not vendors.pinata.pins


def test_an_image_behind_a_url_of_the_server_is_fetched(
    worker: Start, vendors: Vendors, chosen: CogEmulator
) -> None:
    chosen.set_faults(output="url", output_shape="objects")
    token = TokenFactory.create()
    worker().until(is_ready(token))
    assert (job_of(token).output_url or "").startswith(chosen.url)


def test_an_old_job_there_is_given_up_for_replicate(
    worker: Start, vendors: Vendors, cog: CogEmulator, settings: Settings
) -> None:
    """The server died with a call under way, and Replicate is well again."""
    settings.IMAGE_SERVICE = "selfhosted"
    cog.plan_fault("drop_before", times=1000, scope=PUT)
    token = TokenFactory.create()
    first = worker()
    first.until(has_put(cog, 1))
    first.stop()
    settings.IMAGE_SERVICE = "replicate"
    settings.SELFHOSTED_IMAGE_API_URL = f"http://127.0.0.1:{free_port()}"
    ImageGenerationJob.objects.update(created_at=timezone.now() - timedelta(hours=1))
    worker().until(is_ready(token))
    assert services() == ["selfhosted", "replicate"]


@pytest.mark.parametrize(("code", "shows"), [("running", "well"), ("timeout", "away")])
def test_a_server_that_says_that_it_is_still_at_it_is_well(code: str, shows: str) -> None:
    shown: list[str] = []
    open_still: Any = SimpleNamespace()
    breaker = SimpleNamespace(
        succeeded=lambda: shown.append("well"), failed=lambda _error: shown.append("away")
    )
    work: Any = SimpleNamespace(
        service=SimpleNamespace(breaker=breaker, repeats_calls=True),
        claim=SimpleNamespace(token_id=1),
        is_unfinished=lambda _error: open_still,
    )
    step: Any = SimpleNamespace()
    error = UnknownOutcomeError("selfhosted: no image yet", vendor="selfhosted", code=code)
    assert Order._judge(step, work, error) is open_still
    assert shown == [shows]
