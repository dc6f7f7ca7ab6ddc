"""The benchmarks as a user starts them, at their smallest, one after the other in one world."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from benchmarks import __main__ as command
from benchmarks.scene import Scene, scene
from sandbox.world import BASE_DIR, WorldOptions

pytestmark = [pytest.mark.usefixtures("anvil_binary"), pytest.mark.timeout(300)]

Figures = dict[str, float]
Measured = Callable[..., tuple[Figures, Figures]]


@pytest.fixture(scope="module")
def world(anvil_binary: Path) -> Iterator[Scene]:
    """A world that fits what is measured first, without a worker; the next test finds it as is."""
    options = WorldOptions(
        block_time=1.0,
        generation_seconds="0.2",
        pin_seconds="0.05",
        image_size=96,
        distinct_images=4,
        workers=0,
        env={
            "WORKER_BATCH_SIZE": "5",
            "UPLOAD_CONCURRENCY": "5",
            "ENABLE_REVEAL_WORKER": "false",
        },
    )
    with scene("tests", options) as place:
        yield place


@pytest.fixture
def measured(
    world: Scene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Measured:
    """Run a benchmark in the world that is there; return its figures and their floor."""

    @contextmanager
    def this_world(_name: str, _options: WorldOptions) -> Iterator[Scene]:
        yield world

    monkeypatch.setattr(command, "scene", this_world)

    def run(*arguments: str) -> tuple[Figures, Figures]:
        file = tmp_path / "found.json"
        assert command.main([*arguments, "--json", str(file)]) == 0
        found = json.loads(file.read_text())
        assert sorted(found) == ["figures", "floor", "machine", "name"]
        assert found["name"] == arguments[0]
        assert all(isinstance(value, float) for value in found["figures"].values())
        assert set(found["floor"]) <= set(found["figures"])
        assert found["machine"]["cpus"] >= 1
        output = capsys.readouterr().out
        assert all(name in output for name in found["figures"])
        return found["figures"], found["floor"]

    return run


def test_generation_follows_every_token_to_its_pins(measured: Measured) -> None:
    figures, floor = measured(
        *("generation", "--tokens", "12", "--concurrency", "5"),
        *("--generation-seconds", "0.2", "--pin-seconds", "0.05"),
    )

    assert floor["ready_s"] == pytest.approx(3 * 0.2 + 0.05)  # three rounds, and the last pin
    assert figures["floor_ratio"] == pytest.approx(figures["ready_s"] / 0.65, rel=0.01)
    assert figures["floor_ratio"] > 1
    assert figures["predictions_per_token"] == 1
    assert figures["pins_per_token"] == 2


def test_the_reveal_is_measured(measured: Measured) -> None:
    figures, _ = measured("reveal", "--tokens", "51", "--lone", "1", "--block-seconds", "1")

    assert figures["transactions"] == 2
    assert figures["last_broadcast_s"] < figures["all_revealed_s"]
    # 53-character URIs: measured on the contract, and no matter of the machine's speed.
    assert 91_000 < figures["gas_per_token_at_50"] <= 92_000
    assert 0 < figures["lone_broadcast_s"] <= figures["lone_broadcast_worst_s"]
    assert figures["cpu_ms_per_token"] > 0


def test_mint_many_follows_every_token_to_its_reveal(world: Scene, measured: Measured) -> None:
    world.stop_workers()
    for stage in ("IMAGE", "IPFS", "REVEAL"):
        world.world.env[f"ENABLE_{stage}_WORKER"] = "true"
    world.world.add_worker()
    world.world.wait_for_workers()
    figures, floor = measured(
        *("mint_many", "--tokens", "3", "--generation-seconds", "0.2"),
        *("--pin-seconds", "0.05", "--block-seconds", "1"),
    )

    assert floor["last_revealed_s"] == 1.0
    assert figures["last_revealed_s"] > figures["last_broadcast_s"] > 0.25
    assert figures["tokens_per_s"] == pytest.approx(3 / figures["last_revealed_s"], rel=0.01)
    assert 1 <= figures["reveal_transactions"] <= 3
    assert figures["cpu_ms_per_token"] > 0
    # Each token is detected, claimed, captured, pinned and revealed.
    assert figures["statements_per_token"] > 5


def test_a_lone_mint_and_doing_nothing_are_measured(measured: Measured) -> None:
    figures, _ = measured("lone_mint", "--mints", "1")
    assert figures["mint_to_revealed_s"] > figures["broadcast_s"] > 0.25

    figures, _ = measured("idle", "--seconds", "1", "--settle-seconds", "0")
    assert figures["pss_mb"] > figures["worker_pss_mb"] > 0


def test_the_intake_is_measured(measured: Measured) -> None:
    arguments = ("--events", "40", "--rounds", "2", "--batches", "4", "--reveal-seconds", "0.5")
    figures, floor = measured("webhook_intake", *arguments)

    # Figure and floor are of different seconds: which one was better, the machine's load decides.
    assert figures["single_per_s"] > 5
    assert all(value > 0 for value in floor.values())
    assert figures["single_p50_ms"] < figures["single_p95_ms"]
    assert figures["batch50_p50_ms"] > 0.5  # one insert of 50 tokens is more than a commit
    assert figures["during_reveal_p95_ms"] <= figures["during_reveal_p99_ms"]
    assert figures["client_cpu_ms_per_event"] < figures["web_cpu_ms_per_event"]


def test_the_recovery_is_measured(measured: Measured) -> None:
    figures, floor = measured("recovery", "--tokens", "30", "--rounds", "1", "--rows", "20000")

    assert 0 < figures["tokens_per_s"] < floor["tokens_per_s"]
    assert 1 <= figures["second_run_calls"] <= 3
    assert figures["rpc_batch_members"] >= figures["rpc_calls"] >= figures["second_run_calls"]
    # Measured one after the other: the load decides which of them took longer.
    assert min(figures["gap_query_ms_at_1m"], floor["gap_query_ms_at_1m"]) > 0


# --- the command ---------------------------------------------------------------------------


@contextmanager
def started(name: str) -> "Iterator[subprocess.Popen[str]]":
    """Run a benchmark as a process; a test that fails ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", name],
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
    """Return the directory of the benchmark's world, once its vendors are up."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None
        for child in psutil.Process(process.pid).children():
            with suppress(psutil.Error):
                if "sandbox.emulators" in child.cmdline():
                    return Path(child.environ()["EMBEDDED_DATABASE_DIR"]).parent
        time.sleep(0.05)
    raise AssertionError("no vendor started")


def processes_of(directory: Path) -> Iterator[psutil.Process]:
    """Find every process that was told this directory, by argument or environment."""
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(directory) in text for text in told):
            yield process


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["no_such_benchmark"])
    assert ended.value.code == 2
    assert "lone_mint" in capsys.readouterr().err
