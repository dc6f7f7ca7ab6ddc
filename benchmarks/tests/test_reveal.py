"""The reveal's benchmark end to end, on few tokens."""

from pathlib import Path

import pytest

from benchmarks.reveal_seed import image_of
from benchmarks.tests.measuring import measured

pytestmark = pytest.mark.timeout(300)


def test_no_two_tokens_have_one_image() -> None:
    assert len({image_of(token_id) for token_id in range(1, 600)}) == 599


def test_the_reveal_is_measured(tmp_path: Path) -> None:
    arguments = ["--tokens", "60", "--lone", "2", "--block-seconds", "1", "--events", "20"]

    figures, _ = measured("reveal", *arguments, into=tmp_path / "reveal.json")

    assert figures["transactions"] == 2
    assert figures["tokens_per_s"] == pytest.approx(60 / figures["all_revealed_s"], rel=0.01)
    assert figures["last_broadcast_s"] < figures["all_revealed_s"]
    # 53-character URIs: measured on the contract, and no matter of the machine's speed.
    assert 91_000 < figures["gas_per_token_at_50"] <= 92_000
    assert 0 < figures["lone_broadcast_s"] <= figures["lone_broadcast_worst_s"]
    assert figures["cpu_ms_per_token"] > 0
    assert figures["webhook_p99_ms"] > 0
    assert figures["health_p99_ms"] > 0
