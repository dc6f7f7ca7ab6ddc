"""`canary --send`: a whole local world proves itself by one mint, as a test network does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sandbox.accounts import COLLECTORS, KEEPER
from sandbox.ports import Ports
from sandbox.world import World, WorldOptions

pytestmark = [pytest.mark.usefixtures("anvil_binary"), pytest.mark.timeout(300)]
FAST = WorldOptions(block_time=0.5, generation_seconds="0.1", pin_seconds="0.0", image_size=96)


@pytest.fixture
def world() -> Iterator[World]:
    # Not below pytest's own folder: see sandbox/tests/test_kills.py.
    with (
        TemporaryDirectory(prefix="glisk-canary-", ignore_cleanup_errors=True) as directory,
        World(Path(directory) / "world", ports=Ports.free(), options=FAST) as world,
    ):
        world.start()
        yield world


def test_a_canary_goes_the_whole_way(world: World, tmp_path: Path) -> None:
    key = tmp_path / "payer.key"
    key.write_text(COLLECTORS[0].private_key)
    send = ["--send", "--account-key-file", str(key), "--timeout", "120"]
    page = world.manage("canary", "--yes", *send, KEEPER_ADDRESS=KEEPER.address)
    assert "All is well: a mint can come." in page
    assert "#1 by 0x" in page
    (reveal,) = world.chain.reveal_transactions()
    assert reveal.token_ids == (1,)
    assert reveal.tx_hash in page
    assert world.chain.token_uri(1) in page
    assert COLLECTORS[0].private_key.removeprefix("0x") not in page
