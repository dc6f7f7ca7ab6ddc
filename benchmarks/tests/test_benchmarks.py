"""Each benchmark at its smallest, one after the other in one world."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.scene import Scene, scene
from sandbox.world import WorldOptions

pytestmark = [pytest.mark.usefixtures("anvil_binary"), pytest.mark.timeout(300)]

QUICK = "--generation-seconds 0.2 --pin-seconds 0.05"
# In this order: the first ones need a world without a worker. The figures are those that others
# read, by name.
SMALLEST = {
    "keepers": (
        "--keepers 2 --batches 3 --tokens 5 --in-flight 2 --block-seconds 1",
        "tokens_per_s_1 tokens_per_s_2 gas_per_token cpu_ms_per_token calls_per_batch",
    ),
    "generation": (
        f"--tokens 12 --concurrency 5 {QUICK}",
        "tokens_per_s floor_ratio cpu_ms_per_token",
    ),
    "reveal": (
        "--tokens 51 --lone 1 --block-seconds 1 --count-calls",
        "tokens_per_s rpc_calls_per_token gas_per_token_at_50 lone_broadcast_s",
    ),
    "mint_many": (
        f"--tokens 3 --block-seconds 1 {QUICK}",
        "last_revealed_s tokens_per_s cpu_ms_per_token statements_per_token",
    ),
    "lone_mint": ("--mints 1", "mint_to_revealed_s overhead_s"),
    "steps": ("--mints 2", "webhook_ms compose_settle_ms sign_ms"),
    "idle": ("--seconds 1 --settle-seconds 0", "cpu_percent pss_mb statements_per_s"),
    "webhook_intake": (
        "--events 40 --rounds 2 --batches 4 --reveal-seconds 0.5",
        "single_per_s single_p95_ms batch50_p50_ms during_reveal_p99_ms",
    ),
    "recovery": (
        "--tokens 30 --rounds 1 --rows 20000",
        "tokens_per_s rpc_calls second_run_calls gap_query_ms_at_1m",
    ),
}


@pytest.fixture(scope="module")
def world(anvil_binary: Path) -> Iterator[Scene]:
    """A world without a worker; each test finds it as the one before left it."""
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


@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_finds_its_figures(
    name: str, world: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def this_world(_name: str, _options: WorldOptions) -> Iterator[Scene]:
        yield world

    monkeypatch.setattr(command, "scene", this_world)
    if name == "mint_many":
        world.stop_workers()
        for stage in ("IMAGE", "IPFS", "REVEAL"):
            world.world.env[f"ENABLE_{stage}_WORKER"] = "true"
        world.world.add_worker()
        world.world.wait_for_workers()
    options, figures = SMALLEST[name]
    file = tmp_path / "found.json"

    assert command.main([name, *options.split(), "--json", str(file)]) == 0

    found = json.loads(file.read_text())
    assert sorted(found) == ["figures", "floor", "machine", "name"]
    assert found["name"] == name
    assert set(found["floor"]) <= set(found["figures"])
    assert set(figures.split()) <= set(found["figures"])
    if name == "reveal":  # 53-character URIs: no matter of the machine's speed
        assert 91_000 < found["figures"]["gas_per_token_at_50"] <= 92_000
