"""How predictions run, end, are cancelled, expire and outlive a restart."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.node import free_port
from sandbox.replicate import ReplicateEmulator
from sandbox.tests.replicate_client import Client

STUCK = "a never-ending story"  # it runs until somebody ends it


def keep_no_longer(emulator: ReplicateEmulator) -> None:
    """Let the retention time be over."""
    emulator._desk._pace = replace(emulator._desk._pace, retention=0.0)


def wait_for(client: Client, prediction_id: str, *statuses: str) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        prediction = client.read(f"/v1/predictions/{prediction_id}")
        if prediction["status"] in statuses:
            return prediction
        time.sleep(0.01)
    raise AssertionError(f"still {prediction['status']}, not {statuses}")


def test_a_prediction_takes_its_time_and_succeeds() -> None:
    with ReplicateEmulator(generation_seconds=0.3) as emulator, Client(emulator) as client:
        running = wait_for(client, client.create(STUCK).json()["id"], "processing")
        assert running["output"] is None
        assert running["started_at"] is not None
        created = client.create(settings={"seed": 11}).json()
        done = wait_for(client, created["id"], "succeeded")
        assert done["metrics"]["predict_time"] >= 0.3
        assert done["metrics"]["total_time"] >= done["metrics"]["predict_time"]
        assert done["metrics"]["image_count"] == 1
        assert done["logs"].startswith("Using seed: 11\n")
        assert "Total safe images: 1 out of 1" in done["logs"]
        assert done["error"] is None
        assert len(done["output"]) == 1


def test_a_start_delay_keeps_it_starting() -> None:
    with ReplicateEmulator(start_seconds=3600) as emulator, Client(emulator) as client:
        created = client.create().json()
        time.sleep(0.15)
        assert client.read(f"/v1/predictions/{created['id']}")["status"] == "starting"
    with (
        ReplicateEmulator(generation_seconds=0.1, start_seconds=0.3) as emulator,
        Client(emulator) as client,
    ):
        done = wait_for(client, client.create().json()["id"], "succeeded")
        assert done["metrics"]["total_time"] >= 0.4


def test_durations_are_drawn_from_their_range_by_seed() -> None:
    def drawn(seed: int) -> list[float]:
        emulator = ReplicateEmulator(generation_seconds=(0.5, 2.0), seed=seed)
        with emulator, Client(emulator) as client:
            for _ in range(5):
                client.create()
            return [prediction.run_seconds for prediction in emulator.predictions]

    assert drawn(1) == drawn(1) != drawn(2)
    assert all(0.5 <= seconds <= 2.0 for seconds in drawn(1))


def test_wait_returns_the_finished_prediction() -> None:
    with ReplicateEmulator(generation_seconds=0.3) as emulator, Client(emulator) as client:
        done = client.create(headers={"Prefer": "wait"})
        assert (done.status_code, done.json()["status"]) == (201, "succeeded")


def test_wait_gives_up_after_the_seconds_asked_for() -> None:
    with ReplicateEmulator(generation_seconds=3600) as emulator, Client(emulator) as client:
        started = time.monotonic()
        unfinished = client.create(headers={"Prefer": "wait=1"}).json()
        assert time.monotonic() - started >= 1
        assert (unfinished["status"], unfinished["output"]) == ("processing", None)


def test_a_running_prediction_can_be_cancelled_an_ended_one_not() -> None:
    with ReplicateEmulator(generation_seconds=0.4) as emulator, Client(emulator) as client:
        ended = client.create(headers={"Prefer": "wait"}).json()
        running = client.create(STUCK).json()
        cancelled = client.post(running["urls"]["cancel"], timeout=60)
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "canceled")
        assert client.post(ended["urls"]["cancel"], timeout=60).json()["status"] == "succeeded"
        time.sleep(0.5)
        final = client.read(f"/v1/predictions/{running['id']}")
        assert (final["status"], final["output"]) == ("canceled", None)


def test_cancel_after_aborts_what_waits_and_cancels_what_runs() -> None:
    emulator = ReplicateEmulator(generation_seconds=60, concurrency=1)
    with emulator, Client(emulator) as client:
        running = client.create(headers={"Cancel-After": "6s"}).json()
        waiting = client.create(headers={"Cancel-After": "5"}).json()
        assert wait_for(client, waiting["id"], "aborted")["started_at"] is None
        assert wait_for(client, running["id"], "canceled")["started_at"]


def test_what_never_started_is_aborted_at_its_deadline() -> None:
    emulator = ReplicateEmulator(generation_seconds=60, start_seconds=60, run_limit_seconds=0.3)
    with emulator, Client(emulator) as client:
        aborted = wait_for(client, client.create().json()["id"], "aborted")
        assert (aborted["started_at"], aborted["metrics"]) == (None, {})
        assert aborted["completed_at"] is not None


@pytest.mark.parametrize("text", ["1s", "25h", "soon", ""])
def test_cancel_after_has_bounds(text: str) -> None:
    with ReplicateEmulator() as emulator, Client(emulator) as client:
        assert client.create(headers={"Cancel-After": text}).status_code == 422


def test_a_prediction_that_never_ends_is_cancelled_at_the_limit() -> None:
    emulator = ReplicateEmulator(generation_seconds=0.05, run_limit_seconds=0.4)
    with emulator, Client(emulator) as client:
        created = client.create(STUCK).json()
        ended = wait_for(client, created["id"], "canceled")
        assert ended["metrics"]["total_time"] >= 0.4


def test_a_concurrency_limit_queues_the_rest() -> None:
    emulator = ReplicateEmulator(generation_seconds=0.2, concurrency=2)
    with emulator, Client(emulator) as client:
        ids = [client.create(STUCK).json()["id"] for _ in range(6)]
        for one in ids[:2]:
            wait_for(client, one, "processing")
        time.sleep(0.1)
        statuses = [client.read(f"/v1/predictions/{one}")["status"] for one in ids]
        assert statuses == ["processing"] * 2 + ["starting"] * 4
        for one in ids:
            wait_for(client, one, "processing")
            client.post(f"{client.base}/v1/predictions/{one}/cancel", timeout=60)


def test_without_a_limit_all_run_at_once() -> None:
    with ReplicateEmulator(generation_seconds=0.5) as emulator, Client(emulator) as client:
        ids = [client.create("crash-the-model").json()["id"] for _ in range(60)]
        ended = [wait_for(client, one, "failed") for one in ids]
        assert len({prediction["status"] for prediction in ended}) == 1
        times = [p.completed_at - p.created_at for p in emulator.predictions if p.completed_at]
        assert len(times) == 60
        assert max(times) < 15  # one after the other they would take 30 s


def test_after_the_retention_time_everything_is_gone() -> None:
    emulator = ReplicateEmulator(generation_seconds=0.05)
    with emulator, Client(emulator) as client:
        done = client.create(headers={"Prefer": "wait"}).json()
        assert requests.get(done["output"][0], timeout=60).status_code == 200
        keep_no_longer(emulator)
        later = client.read(f"/v1/predictions/{done['id']}")
        assert (later["data_removed"], later["output"], later["input"]) == (True, None, {})
        assert (later["status"], later["logs"]) == ("succeeded", "")
        assert requests.get(done["output"][0], timeout=60).status_code == 404


def test_predictions_outlive_a_restart(tmp_path: Path) -> None:
    port = free_port()
    first = ReplicateEmulator(generation_seconds=0.5, state_dir=tmp_path, port=port)
    with first, Client(first) as client:
        done = client.create("kept", headers={"Prefer": "wait"}).json()
        picture = requests.get(done["output"][0], timeout=60).content
        running = client.create("under way").json()
    with ReplicateEmulator(state_dir=tmp_path, port=port) as second, Client(second) as client:
        assert client.read(f"/v1/predictions/{done['id']}") == done
        assert requests.get(done["output"][0], timeout=60).content == picture
        ended = wait_for(client, running["id"], "succeeded")
        assert ended["input"] == {"prompt": "under way"}
        assert sorted(entry.subject for entry in second.bill.entries) == sorted(
            [done["id"], running["id"]]
        )


def test_a_line_cut_short_by_a_kill_is_skipped(tmp_path: Path) -> None:
    with ReplicateEmulator(state_dir=tmp_path) as first, Client(first) as client:
        kept = client.create().json()["id"]
    with (tmp_path / "predictions.jsonl").open("a") as file:
        file.write('{"id": "half')
    with (
        ReplicateEmulator(state_dir=tmp_path, start_seconds=60) as second,
        Client(second) as client,
    ):
        assert client.read(f"/v1/predictions/{kept}")["id"] == kept
        client.post(f"{client.base}/v1/predictions/{kept}/cancel", timeout=60)
        fresh = client.create().json()["id"]
    with ReplicateEmulator(state_dir=tmp_path) as third, Client(third) as client:
        assert client.read(f"/v1/predictions/{fresh}")["id"] == fresh


def test_a_reset_of_the_state_forgets_predictions() -> None:
    with ReplicateEmulator(generation_seconds=0.1) as emulator, Client(emulator) as client:
        created = client.create().json()
        emulator.reset(state=True)
        path = f"{client.base}/v1/predictions/{created['id']}"
        assert client.get(path, timeout=60).status_code == 404
        assert client.create(headers={"Prefer": "wait"}).json()["status"] == "succeeded"
