"""Replicate's account as others see it: its listing, its clock, data that is gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from sandbox.replicate import ReplicateEmulator
from sandbox.tests.replicate_client import Client


@pytest.fixture
def emulator() -> Iterator[ReplicateEmulator]:
    with ReplicateEmulator(generation_seconds=0.1) as running:
        yield running


@pytest.fixture
def client(emulator: ReplicateEmulator) -> Iterator[Client]:
    with Client(emulator) as session:
        yield session


def test_others_predictions_are_listed_between_our_own(
    emulator: ReplicateEmulator, client: Client
) -> None:
    emulator.set_faults(foreign_per_minute=6000)
    ours = client.create().json()["id"]
    first = client.read("/v1/predictions")
    second = client.get(first["next"], timeout=60).json()
    items = [*first["results"], *second["results"]]
    times = [item["created_at"] for item in items]
    assert len(items) == 200
    assert times == sorted(times, reverse=True)
    assert ours in [item["id"] for item in items]
    theirs = next(item for item in items if item["id"] != ours)
    assert client.read(f"/v1/predictions/{theirs['id']}")["created_at"] == theirs["created_at"]


@pytest.mark.parametrize("ignores", [False, True])
def test_a_listing_may_ignore_its_bounds(
    emulator: ReplicateEmulator, client: Client, ignores: bool
) -> None:
    emulator.set_faults(foreign_per_minute=60, list_ignores_bounds=ignores)
    bound = datetime.fromtimestamp(time.time() - 3600, UTC).isoformat(timespec="seconds")[:19] + "Z"
    newest = client.read(f"/v1/predictions?created_before={bound}")["results"][0]
    assert (newest["created_at"] > bound) is ignores


@pytest.mark.parametrize("status", [403, 405, 500])
def test_a_listing_may_be_refused_while_single_reads_work(
    emulator: ReplicateEmulator, client: Client, status: int
) -> None:
    made = client.create().json()["id"]
    emulator.set_faults(list_refusal=status)
    assert client.get(f"{emulator.url}/v1/predictions", timeout=60).status_code == status
    assert client.read(f"/v1/predictions/{made}")["id"] == made


def test_a_wrong_clock_shows_in_every_time(emulator: ReplicateEmulator, client: Client) -> None:
    emulator.set_faults(clock_ahead_seconds=-7200)
    answer = client.create()
    told = parsedate_to_datetime(answer.headers["Date"])
    made = datetime.fromisoformat(answer.json()["created_at"])
    assert abs((made - told).total_seconds()) < 60
    assert (datetime.now(UTC) - told).total_seconds() > 7000
    bound = f"{told.replace(second=0):%Y-%m-%dT%H:%M:%SZ}"
    assert client.read(f"/v1/predictions?created_after={bound}")["results"]


def test_data_may_be_deleted_at_once(emulator: ReplicateEmulator, client: Client) -> None:
    emulator.set_faults(data_removed=True)
    client.create(headers={"Prefer": "wait"})
    (listed,) = client.read("/v1/predictions")["results"]
    assert (listed["data_removed"], listed["input"]) == (True, {})
