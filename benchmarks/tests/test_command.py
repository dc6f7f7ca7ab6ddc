"""The benchmarks as a user starts them: results as JSON, nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from sandbox.world import BASE_DIR

pytestmark = pytest.mark.timeout(300)


@contextmanager
def started(*arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """Run a benchmark; a test that fails ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=BASE_DIR,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a Ctrl-C of this test is not pytest's
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def measured(file: Path, *arguments: str) -> tuple[dict[str, float], dict[str, float]]:
    """Run a benchmark; return its figures and their floor."""
    with started(*arguments, "--json", str(file)) as process:
        output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    found = json.loads(file.read_text())
    assert sorted(found) == ["figures", "floor", "machine", "name"]
    assert found["name"] == arguments[0]
    assert all(isinstance(value, float) for value in found["figures"].values())
    assert set(found["floor"]) <= set(found["figures"])
    assert found["machine"]["cpus"] >= 1
    assert all(name in output for name in found["figures"])
    return found["figures"], found["floor"]


def test_mint_many_follows_every_token_to_its_reveal(tmp_path: Path) -> None:
    figures, floor = measured(
        tmp_path / "f",
        *("mint_many", "--tokens", "3", "--generation-seconds", "0.1"),
        *("--pin-seconds", "0.05", "--block-seconds", "1"),
    )

    assert floor["last_revealed_s"] == 1.0
    assert figures["last_revealed_s"] > figures["last_broadcast_s"] > 0.15
    assert figures["tokens_per_s"] == pytest.approx(3 / figures["last_revealed_s"], rel=0.01)
    assert 1 <= figures["reveal_transactions"] <= 3
    assert figures["cpu_ms_per_token"] > 0
    # Each token is detected, claimed, captured, pinned and revealed.
    assert figures["statements_per_token"] > 5


def test_generation_follows_every_token_to_its_pins(tmp_path: Path) -> None:
    figures, floor = measured(
        tmp_path / "f",
        *("generation", "--tokens", "12", "--concurrency", "5", "--generation-seconds", "0.2"),
        *("--pin-seconds", "0.05", "--image-size", "96"),
    )

    assert floor["ready_s"] == pytest.approx(3 * 0.2 + 0.05)  # three rounds, and the last pin
    assert figures["floor_ratio"] == pytest.approx(figures["ready_s"] / 0.65, rel=0.01)
    assert figures["floor_ratio"] > 1
    assert figures["predictions_per_token"] == 1
    assert figures["pins_per_token"] == 2


def test_the_recovery_is_measured(tmp_path: Path) -> None:
    arguments = ("--tokens", "60", "--rounds", "1", "--rows", "20000")
    figures, floor = measured(tmp_path / "f", "recovery", *arguments)

    assert 0 < figures["tokens_per_s"] < floor["tokens_per_s"]
    assert 1 <= figures["second_run_calls"] <= 3
    assert figures["rpc_batch_members"] >= figures["rpc_calls"] >= figures["second_run_calls"]
    # Measured one after the other: the load decides which of them took longer.
    assert min(figures["gap_query_ms_at_1m"], floor["gap_query_ms_at_1m"]) > 0


def test_the_reveal_is_measured(tmp_path: Path) -> None:
    arguments = ("--tokens", "60", "--lone", "2", "--block-seconds", "1")
    figures, _ = measured(tmp_path / "f", "reveal", *arguments)

    assert figures["transactions"] == 2
    assert figures["last_broadcast_s"] < figures["all_revealed_s"]
    # 53-character URIs: measured on the contract, and no matter of the machine's speed.
    assert 91_000 < figures["gas_per_token_at_50"] <= 92_000
    assert 0 < figures["lone_broadcast_s"] <= figures["lone_broadcast_worst_s"]
    assert figures["cpu_ms_per_token"] > 0


def test_the_intake_is_measured(tmp_path: Path) -> None:
    arguments = ("--events", "40", "--rounds", "2", "--batches", "4", "--reveal-seconds", "0.5")
    figures, floor = measured(tmp_path / "f", "webhook_intake", *arguments)

    # Figure and floor are of different seconds: which one was better, the machine's load decides.
    assert figures["single_per_s"] > 5
    assert all(value > 0 for value in floor.values())
    assert figures["single_p50_ms"] < figures["single_p95_ms"]
    assert figures["batch50_p50_ms"] > 0.5  # one insert of 50 tokens is more than a commit
    assert figures["during_reveal_p95_ms"] <= figures["during_reveal_p99_ms"]
    assert figures["client_cpu_ms_per_event"] < figures["web_cpu_ms_per_event"]


def test_a_stopped_benchmark_leaves_no_process_and_no_file() -> None:
    with started("idle") as process:
        directory = world_of(process)
        assert any(processes_of(directory))

        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)  # impatience does not cut the clean-up short
        _, errors = process.communicate(timeout=60)

    assert process.returncode in (130, 143), errors
    assert not list(processes_of(directory))
    assert not directory.exists()


def world_of(process: "subprocess.Popen[str]") -> Path:
    """Return the directory of the benchmark's world, once its web server has started."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None
        for child in psutil.Process(process.pid).children():
            with suppress(psutil.Error):
                if "gunicorn" in child.cmdline():
                    return Path(child.environ()["EMBEDDED_DATABASE_DIR"]).parent
        time.sleep(0.05)
    raise AssertionError("the web server did not start")


def processes_of(directory: Path) -> Iterator[psutil.Process]:
    """Find every process that was told this directory, by argument or environment."""
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(directory) in text for text in told):
            yield process


def test_an_unknown_name_is_refused() -> None:
    with started("no_such_benchmark") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "lone_mint" in errors
