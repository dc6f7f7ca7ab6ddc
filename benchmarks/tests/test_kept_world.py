"""A kept database is used again, by one benchmark at a time, and never for another size."""

from pathlib import Path

import pytest

from benchmarks.filled_world import fill
from benchmarks.scene import bare_world
from sandbox.world import DirectoryInUse


def test_a_kept_directory_stays_and_is_used_by_one_at_a_time(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with bare_world("test", kept) as world:
        (world.directory / "tokens").write_text("400")
        with pytest.raises(DirectoryInUse), bare_world("test", kept):
            pass
        with pytest.raises(RuntimeError, match="holds 400 tokens"):
            fill(world, 500)
    assert (kept / "tokens").read_text() == "400"


def test_any_other_world_leaves_nothing() -> None:
    with bare_world("test") as world:
        assert world.directory.is_dir()
    assert not world.directory.exists()
