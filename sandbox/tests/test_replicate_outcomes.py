"""Refusals, garbage and files: what a prediction leaves behind."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from PIL import Image, UnidentifiedImageError

from sandbox.http import FaultPlan
from sandbox.replicate import ReplicateEmulator
from sandbox.replicate.outcomes import ReplicateFaults, decide
from sandbox.tests.replicate_client import Client
from sandbox.tests.test_replicate_api import SDXL


@pytest.fixture
def emulator() -> Iterator[ReplicateEmulator]:
    with ReplicateEmulator(generation_seconds=0.02) as running:
        yield running


@pytest.fixture
def client(emulator: ReplicateEmulator) -> Iterator[Client]:
    with Client(emulator) as session:
        yield session


def finish(client: Client, prompt: str = "a fox", **settings: Any) -> Any:
    return client.create(prompt, settings=settings, headers={"Prefer": "wait"}).json()


def download(url: str) -> bytes:
    response = requests.get(url, timeout=60)
    assert response.status_code == 200
    return response.content


def picture_of(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        return opened


def test_a_trigger_word_is_refused_as_nsfw(client: Client, emulator: ReplicateEmulator) -> None:
    failed = finish(client, "A NUDE figure")
    assert (failed["status"], failed["output"]) == ("failed", None)
    assert failed["error"] == (
        "All generated images contained NSFW content. Try running it again with a different prompt."
    )
    assert "NSFW content detected in image 0\n" in failed["logs"]
    assert "Total safe images: 0 out of 1" in failed["logs"]
    assert len(emulator.bill) == 1


def test_trigger_words_match_whole_words_only(client: Client) -> None:
    assert finish(client, "nudeness in art")["status"] == "succeeded"


def test_stable_diffusion_refuses_in_its_own_words(client: Client) -> None:
    failed = client.create(
        "nsfw", path="/v1/predictions", version=SDXL, headers={"Prefer": "wait"}
    ).json()
    assert failed["error"] == (
        "NSFW content detected. Try running it again, or try a different prompt."
    )


def test_moderation_answers_e005(client: Client, emulator: ReplicateEmulator) -> None:
    text = "The input or output was flagged as sensitive. Please try again with different inputs. "
    assert finish(client, "gore")["error"] == text + "(E005)"
    emulator.set_faults(flagged_rate=1.0, flagged_suffix="uIJ6l3ruRD")
    assert finish(client)["error"] == text + "(E005) (uIJ6l3ruRD)"


def test_some_unsafe_images_leave_fewer_outputs(
    client: Client, emulator: ReplicateEmulator
) -> None:
    emulator.set_faults(nsfw_rate=0.5, seed=2)
    done = finish(client, num_outputs=4, seed=100)
    count = len(done["output"])
    assert 0 < count < 4
    assert f"Total safe images: {count} out of 4" in done["logs"]
    assert [url.rpartition("/")[2] for url in done["output"]] == [
        f"out-{position}.webp" for position in range(count)
    ]
    assert len({download(url) for url in done["output"]}) == count


def test_outcomes_are_reproducible_by_seed() -> None:
    def drawn(seed: int) -> list[str]:
        faults = ReplicateFaults(seed=seed, nsfw_rate=0.2, crash_rate=0.1, flagged_rate=0.1)
        plan = FaultPlan(faults)
        return [decide(plan, faults, "x", 1).name for _ in range(100)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert set(drawn(1)) == {"nsfw", "crashed", "flagged", "succeeded"}


def test_a_crash_is_neither_nsfw_nor_moderation(
    client: Client, emulator: ReplicateEmulator
) -> None:
    emulator.set_faults(crash_rate=1.0)
    failed = finish(client)
    assert failed["status"] == "failed"
    assert "E6716" in failed["error"]


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, (1024, 1024)),
        ({"aspect_ratio": "16:9"}, (1344, 768)),
        ({"aspect_ratio": "9:21", "megapixels": "0.25"}, (320, 768)),
        ({"megapixels": "0.25"}, (512, 512)),
    ],
)
def test_images_have_the_size_asked_for(
    client: Client, settings: dict[str, Any], size: tuple[int, int]
) -> None:
    assert picture_of(download(finish(client, **settings)["output"][0])).size == size


@pytest.mark.parametrize(
    ("file_format", "kind", "content_type"),
    [("webp", "WEBP", "image/webp"), ("jpg", "JPEG", "image/jpeg"), ("png", "PNG", "image/png")],
)
def test_images_have_the_format_asked_for(
    client: Client, file_format: str, kind: str, content_type: str
) -> None:
    url = finish(client, output_format=file_format, megapixels="0.25")["output"][0]
    assert url.endswith(f"/out-0.{file_format}")
    response = requests.get(url, timeout=60)
    assert response.headers["Content-Type"] == content_type
    assert picture_of(response.content).format == kind


def test_quality_decides_the_size_of_the_file(client: Client) -> None:
    small, large = (
        len(download(finish(client, seed=1, output_quality=quality)["output"][0]))
        for quality in (10, 95)
    )
    assert small < large / 2


def test_the_same_prompt_and_seed_give_the_same_bytes(client: Client) -> None:
    one, two, other = (
        download(finish(client, seed=seed, megapixels="0.25")["output"][0]) for seed in (5, 5, 6)
    )
    assert one == two != other


def test_without_a_seed_every_image_is_its_own(client: Client) -> None:
    files = {download(finish(client, megapixels="0.25")["output"][0]) for _ in range(4)}
    assert len(files) == 4


def test_files_need_no_token_and_unknown_ones_are_404(client: Client) -> None:
    url = finish(client, megapixels="0.25")["output"][0]
    assert requests.head(url, timeout=60).status_code == 200
    assert requests.get(url.replace("out-0", "out-1"), timeout=60).status_code == 404
    assert requests.get(url.replace("webp", "png"), timeout=60).status_code == 404
    unknown = url.rsplit("/", 2)[0] + "/unknown/out-0.webp"
    assert requests.get(unknown, timeout=60).status_code == 404


def test_a_file_is_not_there_before_the_end() -> None:
    with ReplicateEmulator(generation_seconds=5) as emulator, Client(emulator) as client:
        client.create()
        token = emulator.predictions[0].file_token
        url = f"{emulator.url}/delivery/xezq/{token}/out-0.webp"
        assert requests.get(url, timeout=60).status_code == 404


def test_files_can_have_another_host() -> None:
    delivery = "http://replicate.delivery.test:8601/delivery"
    emulator = ReplicateEmulator(generation_seconds=0.01, delivery_url=delivery + "/")
    with emulator, Client(emulator) as client:
        assert finish(client)["output"][0].startswith(f"{delivery}/xezq/")


def test_a_public_url_replaces_the_servers_own() -> None:
    emulator = ReplicateEmulator(generation_seconds=0.01, public_url="http://vendors:8601/")
    with emulator, Client(emulator) as client:
        client.base = f"http://127.0.0.1:{emulator.port}"
        done = finish(client)
        assert done["urls"]["get"] == f"http://vendors:8601/v1/predictions/{done['id']}"
        assert done["output"][0].startswith("http://vendors:8601/delivery/xezq/")


def test_garbage_html(client: Client) -> None:
    done = finish(client, "a garbage-html fox")
    assert done["status"] == "succeeded"
    response = requests.get(done["output"][0], timeout=60)
    assert response.headers["Content-Type"] == "text/html"
    with pytest.raises(UnidentifiedImageError):
        picture_of(response.content)


def test_garbage_truncated(client: Client) -> None:
    content = download(finish(client, "a garbage-truncated fox", output_format="png")["output"][0])
    with pytest.raises(OSError, match="truncated"):
        picture_of(content)


def test_garbage_black_and_empty(client: Client) -> None:
    black = picture_of(download(finish(client, "garbage-black")["output"][0])).convert("L")
    assert black.getextrema() == (0, 0)
    assert download(finish(client, "garbage-empty")["output"][0]) == b""


def test_garbage_by_rate_and_kind(client: Client, emulator: ReplicateEmulator) -> None:
    emulator.set_faults(garbage_rate=1.0, garbage_kinds="empty")
    assert download(finish(client)["output"][0]) == b""
    with pytest.raises(ValueError, match="melted"):
        emulator.set_faults(garbage_kinds="melted")


def test_files_can_be_missing_at_first(client: Client, emulator: ReplicateEmulator) -> None:
    url = finish(client, megapixels="0.25")["output"][0]
    emulator.set_faults(server_error_status=404)
    emulator.plan_fault("server_error", times=2, scope="^GET /delivery")
    assert [requests.get(url, timeout=60).status_code for _ in range(3)] == [404, 404, 200]
