"""A prompt is tried by one paid image, whatever goes wrong; the daily cap bounds samples, too."""

import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from authors.models import Author
from authors.tests.factories import AuthorFactory
from glisk.breaker import Breaker
from glisk.console.roles import OPERATOR, VIEWER, give_role, make_roles
from glisk.engine.step import Failed
from glisk.errors import AccountError
from glisk.pauses import Pauses
from glisk.tests.waiting import at_once
from glisk.timing import timing
from sandbox.http import Kind
from tokens.models import PromptSample
from tokens.models.job import SampleStatus
from tokens.pipeline import samples
from tokens.pipeline.image_vendors import OpenJobs, Services, spent_today
from tokens.pipeline.samples import SampleRefused, request_sample
from tokens.tests.stage import CREATE, Start, Vendors, Worker, is_open
from tokens.totals import close_days, spend_totals

PROMPT = "A fox in the snow"


@pytest.fixture
def author(db: None) -> Author:
    made: Author = AuthorFactory.create(prompt_text=PROMPT)
    return made


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_POLL", "_LOOK", "_NO_PLACE"):
        monkeypatch.setattr(samples, name, timedelta(seconds=0.02))


def ask(author: Author, prompt: str = PROMPT) -> PromptSample:
    return request_sample(author=author, prompt=prompt, actor="operator maria")


def render(worker: Start, sample: PromptSample) -> PromptSample:
    """Let a worker bring the sample to its end."""
    return bring_to_its_end(worker(), sample)


def bring_to_its_end(drain: Worker, sample: PromptSample) -> PromptSample:

    def has_ended() -> bool:
        sample.refresh_from_db()
        return not sample.is_open

    drain.until(has_ended, what="the sample's end")
    return sample


def test_a_sample_is_made_and_paid_once(worker: Start, vendors: Vendors, author: Author) -> None:
    sample = ask(author)
    assert ask(author, "Another").pk == sample.pk  # a second click
    sample = render(worker, sample)
    assert sample.status == SampleStatus.DONE, sample.error
    assert bytes(sample.data or b"")[:4] in (b"RIFF", b"\x89PNG", b"\xff\xd8\xff\xe0")
    assert vendors.paid == vendors.creations() == 1
    assert vendors.predictions[0].input["prompt"] == PROMPT
    assert sample.cost_usd == spent_today() == spend_totals().all_time_usd == Decimal("0.003")
    author.refresh_from_db()
    assert author.prompt_text == PROMPT
    assert ask(author).pk != sample.pk


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_once_make_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    author = AuthorFactory.create(prompt_text=PROMPT)
    barrier = threading.Barrier(2)
    allowed = samples.allowed_by_cap

    def together(*given: Any) -> int:
        barrier.wait(60)
        return allowed(*given)

    monkeypatch.setattr(samples, "allowed_by_cap", together)
    made = at_once(2, lambda _: ask(author).pk)
    assert made == [PromptSample.objects.get().pk] * 2


@pytest.mark.parametrize("fault", ["drop_after", "error_after"])
def test_a_lost_reply_is_looked_for_and_not_paid_again(
    worker: Start, vendors: Vendors, author: Author, fault: Kind
) -> None:
    vendors.replicate.set_faults(error_after_status=522)
    vendors.replicate.plan_fault(fault, scope=CREATE)
    assert render(worker, ask(author)).status == SampleStatus.DONE
    assert vendors.paid == vendors.creations() == 1


def test_a_refusal_that_is_delivered_again_does_not_have_the_next_call_repeated(
    worker: Start, vendors: Vendors, author: Author
) -> None:
    """The first worker's turn failed behind the sample, so it gets the same result once more."""
    sample, first = ask(author), worker()
    vendors.replicate.plan_fault("throttle", scope=CREATE)
    first.step()
    refused = first.finished()
    first.drain.turn(refused)
    first.drain.stopping = True
    sample.refresh_from_db()
    assert sample.status == SampleStatus.CREATED
    second = worker()
    second.until(lambda: PromptSample.objects.filter(status=SampleStatus.CALLING).exists())
    first.drain.turn(refused)
    assert bring_to_its_end(second, sample).status == SampleStatus.DONE
    assert vendors.paid == 1


def test_a_call_that_never_arrived_is_given_up_unpaid(
    worker: Start, vendors: Vendors, author: Author
) -> None:
    vendors.replicate.plan_fault("drop_before", scope=CREATE)
    sample = ask(author)
    drain = worker()
    drain.until(lambda: vendors.listings() >= 2)
    sample.refresh_from_db()
    assert sample.status == SampleStatus.CALLING  # the listing may lag
    PromptSample.objects.update(called_at=timezone.now() - timedelta(seconds=61))
    sample = bring_to_its_end(drain, sample)
    assert (sample.status, sample.cost_usd) == (SampleStatus.FAILED, None)
    assert "never arrived" in sample.error
    assert vendors.paid == 0
    assert spent_today() == 0


def test_a_worker_that_died_in_the_call_is_followed_by_a_look(
    worker: Start, vendors: Vendors, author: Author
) -> None:
    sample = ask(author)
    first = worker()
    first.step()  # makes the call, and dies before it hears of the answer
    first.rest()
    first.crash()
    sample.refresh_from_db()
    assert sample.status == SampleStatus.CALLING
    PromptSample.objects.update(busy_until=timezone.now())
    assert render(worker, sample).status == SampleStatus.DONE
    assert vendors.paid == vendors.creations() == 1


def test_one_worker_at_a_time(worker: Start, vendors: Vendors, author: Author) -> None:
    sample = ask(author)
    PromptSample.objects.update(busy_until=timezone.now() + timedelta(seconds=60))
    worker().settle(0.3)
    assert vendors.replicate.calls == []
    PromptSample.objects.update(busy_until=timezone.now() - timedelta(seconds=1))
    assert render(worker, sample).status == SampleStatus.DONE


def test_every_answer_may_come_twice(worker: Start, vendors: Vendors, author: Author) -> None:
    """As after a database that was lost in the middle of a turn."""
    sample = ask(author)
    drain = worker()
    while sample.is_open:
        drain.drain.turn(drain.step())
        sample.refresh_from_db()
    assert sample.status == SampleStatus.DONE
    assert vendors.paid == vendors.creations() == 1


def test_a_refusal_is_said_and_costs_nothing(
    worker: Start, vendors: Vendors, author: Author
) -> None:
    vendors.replicate.set_faults(account_refusal="insufficient_credit")
    sample = render(worker, ask(author))
    assert (sample.status, sample.cost_usd) == (SampleStatus.FAILED, None)
    assert "Nothing was paid" in sample.error


def test_a_refused_account_has_all_images_wait(author: Author) -> None:
    sample = ask(author)
    step = samples.Sample("a drain", OpenJobs(), Services(Pauses()))
    (work,) = step.claim(1)
    step.settle([], [Failed(work, AccountError("no credit", vendor="replicate"))])
    assert is_open("replicate")
    sample.refresh_from_db()
    assert (sample.status, sample.cost_usd) == (SampleStatus.FAILED, None)


def test_a_refused_prompt_fails_with_its_cost(
    worker: Start, vendors: Vendors, author: Author
) -> None:
    sample = render(worker, ask(author, "a nsfw picture"))
    assert sample.status == SampleStatus.FAILED
    assert sample.error
    assert sample.cost_usd == Decimal("0.003")
    assert vendors.paid == 1


def test_while_the_vendor_is_away_nothing_is_called(
    worker: Start, vendors: Vendors, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "account_wait", 60)
    Breaker("replicate").failed(AccountError("no credit", vendor="replicate"))
    sample = ask(author)
    worker().settle(0.3)
    sample.refresh_from_db()
    assert sample.status == SampleStatus.CREATED
    assert vendors.creations() == 0


def test_the_daily_cap_refuses_samples_and_counts_them(author: Author, settings: Settings) -> None:
    settings.DAILY_SPEND_CAP_USD = 0.004
    ask(author)
    with pytest.raises(SampleRefused, match="cap"):
        ask(AuthorFactory.create())
    assert PromptSample.objects.count() == 1


def test_a_cap_that_leaves_room_for_one_allows_one(author: Author, settings: Settings) -> None:
    settings.DAILY_SPEND_CAP_USD, settings.GENERATION_COST_USD = 0.003, 0.003
    settings.REPLICATE_PRICES = {}
    sample = request_sample(author=author, prompt=PROMPT, actor="x" * 300)
    assert sample.actor == "x" * 200
    with pytest.raises(SampleRefused, match="daily cap"):
        ask(AuthorFactory.create())


def test_closed_days_keep_what_samples_cost(author: Author) -> None:
    ask(author)
    PromptSample.objects.update(created_at=timezone.now() - timedelta(days=10))
    assert close_days() == 1
    assert spend_totals().all_time_usd == Decimal("0.003")


class TestAdmin:
    def try_url(self, author: Author) -> str:
        return f"/admin/tokens/promptsample/try/{author.pk}/"

    def log_in(self, client: Client, role: str) -> None:
        make_roles()
        User.objects.create_user(role)
        client.force_login(give_role(role, role))

    def test_from_the_form_that_states_the_cost_to_the_picture(
        self, client: Client, worker: Start, author: Author
    ) -> None:
        self.log_in(client, OPERATOR)
        page = client.get(self.try_url(author)).content.decode()
        assert "Pay 0.003 USD" in page
        assert PROMPT in page
        of_author = client.get(f"/admin/authors/author/{author.pk}/change/").content.decode()
        assert self.try_url(author) in of_author
        answer = client.post(self.try_url(author), {"prompt": "x" * 1001})
        assert "1001 characters" in answer.content.decode()
        assert not PromptSample.objects.exists()
        answer = client.post(self.try_url(author), {"prompt": "Try me"}, follow=True)
        sample = PromptSample.objects.get()
        assert (sample.prompt, sample.actor) == ("Try me", "operator operator")
        assert "This page follows it." in answer.content.decode()
        render(worker, sample)
        url = f"/admin/tokens/promptsample/{sample.pk}"
        assert f"{url}/picture/" in client.get(f"{url}/change/").content.decode()
        picture = client.get(f"{url}/picture/")
        assert picture.content == bytes(PromptSample.objects.get().data or b"")

    def test_it_is_off_when_the_budget_says_so(
        self, client: Client, author: Author, settings: Settings
    ) -> None:
        settings.DAILY_SPEND_CAP_USD = 0.001
        self.log_in(client, OPERATOR)
        page = client.get(self.try_url(author)).content.decode()
        assert "disabled" in page
        assert "daily cap" in page
        assert "daily cap" in client.post(self.try_url(author), {"prompt": "x"}).content.decode()
        assert not PromptSample.objects.exists()

    def test_the_viewer_looks_only(self, client: Client, author: Author) -> None:
        self.log_in(client, VIEWER)
        assert client.get(self.try_url(author)).status_code == 403
        assert client.post(self.try_url(author), {"prompt": "x"}).status_code == 403
        assert client.get("/admin/tokens/promptsample/").status_code == 200
