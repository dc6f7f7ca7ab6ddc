"""Replicate's webhook hands signed predictions on, and nothing else."""

import json
import time
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client, RequestFactory
from pytest_django import Settings
from rest_framework.request import Request

from sandbox.replicate.predictions import sign
from tokens.models import ImageGenerationJob
from tokens.models.job import JobService, JobStatus
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from webhooks.authentication import ReplicateSignature
from webhooks.tests.webhook_cases import SignedWebhookCases

URL = "/webhooks/replicate"
PREDICTION_ID = "gm3qorzdhgbfurvjtvhg6dckhu"
VECTORS = {
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX": "/485aUtxlie+TIScVpHggMfqOB4so2KWb7+Gf727B44=",
}
OUTPUT_URL = "https://replicate.delivery/xezq/token/out-0.webp"


def prediction(**changes: Any) -> dict[str, Any]:
    """Return a prediction as the API sends it when it has succeeded."""
    return {
        "id": PREDICTION_ID,
        "model": "black-forest-labs/flux-schnell",
        "version": "hidden",
        "input": {"prompt": "a fox"},
        "output": [OUTPUT_URL],
        "logs": "Using seed: 123",
        "error": None,
        "status": "succeeded",
        "data_removed": False,
        "created_at": "2026-02-01T10:00:00.123Z",
        "completed_at": "2026-02-01T10:00:01.123Z",
        "metrics": {"predict_time": 0.52},
    } | changes


def signed_headers(
    body: bytes, *, key: str | None = None, timestamp: int | None = None
) -> dict[str, str]:
    key = key or django_settings.REPLICATE_WEBHOOK_SECRETS[0]
    timestamp = int(time.time()) if timestamp is None else timestamp
    return {
        "webhook-id": "msg_one",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(key, "msg_one", str(timestamp), body),
    }


def post(payload: object, *, query: str = "") -> Any:
    body = json.dumps(payload).encode()
    return Client().post(
        URL + query, data=body, content_type="application/json", headers=signed_headers(body)
    )


class TestReplicateWebhook(SignedWebhookCases):
    url = URL
    signature_header = "webhook-signature"

    def signed_headers(self, body: bytes, *, key: str | None = None) -> dict[str, str]:
        return signed_headers(body, key=key)

    def body(self) -> bytes:
        return json.dumps(prediction()).encode()

    def test_all_three_headers_are_signed(self) -> None:
        right = self.signed_headers(self.body())
        for header, others in (
            ("webhook-id", ("", "msg_other", "ünïcode")),
            ("webhook-signature", ("v2" + right["webhook-signature"][2:],)),
            ("webhook-timestamp", ("", "now", "1.5", "-5", "9" * 400, "²", "٥")),
            ("webhook-timestamp", (str(int(right["webhook-timestamp"]) + 1),)),
        ):
            for other in others:
                answer = self.send(self.body(), right | {header: other})
                assert answer.status_code == 401, (header, other)

    @pytest.mark.django_db
    def test_clocks_may_differ_by_some_minutes(self) -> None:
        for age, status in ((-330, 401), (-290, 200), (290, 200), (301, 401), (86_400, 401)):
            headers = signed_headers(self.body(), timestamp=int(time.time()) - age)
            assert self.send(self.body(), headers).status_code == status, age

    def test_signatures_are_those_of_the_published_vectors(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Any key of the list will do, and any signature of the header."""
        monkeypatch.setattr(time, "time", lambda: 1614265330)
        for secret, signature in VECTORS.items():
            headers = {
                "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "webhook-timestamp": "1614265330",
                "webhook-signature": f"v1,!!! v1a,{signature} v1,{'A' * 43}= v1,{signature}",
            }
            request = Request(RequestFactory().post(URL, headers=headers))
            body = b'{"test": 2432232314}'
            assert ReplicateSignature().problem(request, body, [*VECTORS, secret]) == ""

    def test_without_a_secret_the_webhook_is_not_configured(self, settings: Settings) -> None:
        headers = self.signed_headers(self.body())
        settings.REPLICATE_WEBHOOK_SECRETS = []
        assert self.send(self.body(), headers).status_code == 503


@pytest.fixture
def job() -> ImageGenerationJob:
    token = TokenFactory.create(status=TokenStatus.GENERATING)
    return ImageGenerationJob.objects.create(
        token=token,
        prompt="a fox",
        input={"prompt": "a fox"},
        service=JobService.REPLICATE,
        model="black-forest-labs/flux-schnell",
        external_id=PREDICTION_ID,
        attempt_number=1,
        status=JobStatus.SUBMITTED,
    )


@pytest.mark.django_db
def test_the_usual_outcome_is_recorded_once_by_one_statement(
    job: ImageGenerationJob, django_assert_num_queries: Any
) -> None:
    """Every picture's callback comes this way: it is most of what the web server does."""
    with django_assert_num_queries(1):
        assert post(prediction(), query=f"?job={job.pk}").json() == {"status": "recorded"}
    job.refresh_from_db()
    assert (job.status, job.output_url) == (JobStatus.SUCCEEDED, OUTPUT_URL)
    assert post(prediction()).json() == {"status": "duplicate"}


@pytest.mark.django_db
def test_a_job_whose_reply_was_lost_is_found_by_its_own_id(job: ImageGenerationJob) -> None:
    ImageGenerationJob.objects.filter(pk=job.pk).update(
        status=JobStatus.CREATED, external_id=None, submitted_at=None
    )
    assert post(prediction(), query=f"?job={job.pk}").json() == {"status": "recorded"}
    job.refresh_from_db()
    assert (job.status, job.external_id) == (JobStatus.SUCCEEDED, PREDICTION_ID)


@pytest.mark.django_db
def test_a_prediction_of_nobody_is_ignored() -> None:
    for job in ("", "x", "-1", "%00", "٥", "9" * 40, "1.5"):
        response = post(prediction(), query=f"?job={job}")
        assert (response.status_code, response.json()) == (200, {"status": "ignored"})


@pytest.mark.django_db
def test_a_running_prediction_is_no_outcome(job: ImageGenerationJob) -> None:
    running = prediction(status="processing", output=None, completed_at=None)
    assert post(running).json() == {"status": "running"}
    job.refresh_from_db()
    assert job.status == JobStatus.SUBMITTED


@pytest.mark.django_db
@pytest.mark.parametrize(
    "changes",
    [
        {"status": "failed", "output": None, "error": "a\x00b \ud800"},
        {"status": "failed", "output": None, "error": {"nested": "\x00"}},
        {"status": "failed", "output": None, "error": None, "logs": "NUL \x00 and \udfff"},
        {"output": [OUTPUT_URL + "\x00\ud800"]},
        {"output": [None, 5, {}]},
        {"output": {"url": OUTPUT_URL}},
        {"metrics": {"predict_time": "long"}, "completed_at": "yesterday", "input": []},
        {"status": "a status of tomorrow"},
    ],
    ids=repr,
)
def test_odd_contents_do_no_harm(job: ImageGenerationJob, changes: dict[str, Any]) -> None:
    assert post(prediction(**changes)).status_code == 200


def test_what_is_no_prediction_is_a_bad_request() -> None:
    for payload in (
        {"status": "succeeded"},
        {"id": PREDICTION_ID},
        {"id": PREDICTION_ID, "status": 5},
        prediction(metrics={"predict_time": 10**400}),
    ):
        assert post(payload).status_code == 400
