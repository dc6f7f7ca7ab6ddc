"""The client of the self-hosted server: what each answer of Cog means."""

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from glisk.clients.image_download import read_data_uri
from glisk.clients.selfhosted import SelfhostedClient, output_hosts
from glisk.errors import (
    AccountError,
    ArtefactError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
)
from sandbox.cog.emulator import CogEmulator
from sandbox.paint import Painter

INPUT = {"prompt": "a fox", "seed": 7}


@pytest.fixture
def server(settings: Settings) -> Iterator[CogEmulator]:
    with CogEmulator(generation_seconds=0.1, painter=Painter(image_size=96)) as made:
        settings.SELFHOSTED_IMAGE_API_URL = made.url
        settings.SELFHOSTED_IMAGE_API_TOKEN = "proxy-secret-0123456789"
        settings.GENERATION_TIMEOUT_SECONDS = 60
        yield made


def test_the_image_comes_with_the_answer(server: CogEmulator) -> None:
    made = SelfhostedClient().create_prediction(input=INPUT, prediction_id="job-1")
    assert (made.id, made.status) == ("job-1", "succeeded")
    assert made.predict_time_seconds
    (uri,) = made.output_urls
    assert read_data_uri(uri, max_bytes=1_000_000, vendor="v").startswith(b"\x89PNG")


def test_the_same_id_twice_is_one_prediction(server: CogEmulator) -> None:
    mine = SelfhostedClient()
    stuck = {**INPUT, "prompt": "a never-ending story"}

    def call() -> None:
        with contextlib.suppress(ProviderError):
            mine.create_prediction(input=stuck, prediction_id="job-1")

    first = threading.Thread(target=call)
    first.start()
    while not server.running:
        time.sleep(0.01)
    with pytest.raises(UnknownOutcomeError, match="still running") as running:
        mine.create_prediction(input=stuck, prediction_id="job-1")
    assert running.value.code == "running"
    with pytest.raises(TransientError) as busy:
        mine.create_prediction(input=INPUT, prediction_id="job-2")
    assert busy.value.rate_limited
    assert busy.value.retry_after_seconds == 1.0
    assert not isinstance(busy.value, UnknownOutcomeError)
    assert len(server.bill) == 1
    server.reset(state=True)
    first.join()


def test_an_overdue_prediction_is_canceled(server: CogEmulator, settings: Settings) -> None:
    settings.GENERATION_TIMEOUT_SECONDS = 0.3
    with pytest.raises(UnknownOutcomeError) as late:
        SelfhostedClient().create_prediction(
            input={"prompt": "a never-ending story"}, prediction_id="job-1"
        )
    assert late.value.code == "timeout"
    deadline = time.monotonic() + 60
    while server.running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not server.running


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        ({"takes_seed": False}, AccountError),
        ({"ready": False}, TransientError),
        ({"server_error_rate": 1.0}, UnknownOutcomeError),
        ({"server_error_rate": 1.0, "server_error_status": 502}, UnknownOutcomeError),
        ({"server_error_rate": 1.0, "server_error_status": 521}, TransientError),
        ({"drop_before_rate": 1.0}, UnknownOutcomeError),
    ],
)
def test_each_refusal_has_its_class(
    server: CogEmulator, faults: dict[str, float], kind: type[Exception]
) -> None:
    server.set_faults(**faults)
    with pytest.raises(kind) as refused:
        SelfhostedClient().create_prediction(input=INPUT, prediction_id="job-1")
    assert type(refused.value) is kind


def test_a_data_uri_is_read_or_refused() -> None:
    for uri, data in (
        ("data:image/png;base64,aGVsbG8=", b"hello"),
        ("data:;BASE64,aGVsbG8=", b"hello"),
    ):
        assert read_data_uri(uri, max_bytes=10, vendor="v") == data
    damaged = ["data:", "data:image/png", "data:;base64,a", "data:;base64,%%", "data:;base64,é"]
    for uri in (*damaged, "data:,hello", "file:;base64,aGVsbG8="):
        with pytest.raises(ArtefactError, match="damaged"):
            read_data_uri(uri, max_bytes=10, vendor="v")
    for uri in ("data:;base64,aGVsbG9oZWxsbzE=", "data:;base64," + "x" * 100):
        with pytest.raises(ArtefactError, match="larger than the limit"):
            read_data_uri(uri, max_bytes=10, vendor="v")


def test_images_come_from_the_server_alone() -> None:
    assert output_hosts("http://images.internal:5000/x") == ["images.internal:5000"]
    assert output_hosts("https://images.example.com") == ["images.example.com:443"]
