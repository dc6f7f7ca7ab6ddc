"""The existing frontend works unchanged: its calls in their order, against everything running."""

from pathlib import Path

import pytest

from sandbox.frontend import Deviation, Replay
from sandbox.ports import Ports
from sandbox.world import World, WorldOptions


@pytest.mark.timeout(600)
def test_a_visit_of_the_frontend(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory: Path = tmp_path_factory.mktemp("world")
    ports = Ports.free()
    options = WorldOptions(
        block_time=1.0, generation_seconds="0.3", pin_seconds="0.1", image_size=64
    )
    said: list[str] = []
    with World(directory, ports=ports, options=options) as world:
        world.start()
        world.wait_for_workers()
        replay = Replay(
            ports.url("web"),
            ports.url("gateway"),
            world.chain,
            poll_seconds=0.5,
            give_up_seconds=180,
            say=said.append,
        )
        replay.run()
        assert said[-1].endswith("no deviation")
        replay.backend += "/nowhere"
        with pytest.raises(Deviation, match="the status of GET"):
            replay.load_author_page()
