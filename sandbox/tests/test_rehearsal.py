"""An operator practises: mints by a command, lets a vendor fail, repairs it.

What each mishap does to the program is in test_mishaps_are_told.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from sandbox.accounts import AUTHORS, STRANGER
from sandbox.chain import DemoChain
from sandbox.gateway.emulator import GatewayEmulator
from sandbox.http import Emulator
from sandbox.pinata.emulator import SANDBOX_JWT, PinataEmulator
from sandbox.ports import Ports
from sandbox.rehearsal.__main__ import main as rehearse
from sandbox.rehearsal.mint import main as mint
from sandbox.rehearsal.mishaps import MISHAPS
from sandbox.replicate.emulator import ReplicateEmulator


@pytest.fixture
def world(deployed: DemoChain, tmp_path: Path) -> Iterator[Path]:
    """A node and emulators in this process, found by the directory as a real world is."""
    emulators: list[Emulator[Any]] = [
        PinataEmulator(pin_seconds=0.0), ReplicateEmulator(), GatewayEmulator(store=tmp_path)
    ]  # fmt: skip
    with ExitStack() as stack:
        urls = {each.name: stack.enter_context(each).url for each in emulators}
        urls["node"] = deployed.rpc_url
        Ports(**{name: urlsplit(url).port or 0 for name, url in urls.items()}).write(tmp_path)
        yield tmp_path


def pin_with(jwt: str, world: Path) -> int:
    ports = Ports.read(world)
    assert ports is not None
    return requests.post(
        f"{ports.url('pinata')}/pinning/pinFileToIPFS",
        files={"file": ("x", b"x")},
        headers={"Authorization": f"Bearer {jwt}"},
        timeout=60,
    ).status_code


def test_mints_so_many_tokens_of_an_author(
    world: Path, deployed: DemoChain, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mint(["3", "--author", STRANGER.address, "--directory", str(world)]) == 0
    assert f"tokens 1 to 3 of {STRANGER.address}" in capsys.readouterr().out
    assert mint(["--directory", str(world)]) == 0
    authors = [deployed.token_prompt_author(token_id) for token_id in (3, 4, 5)]
    assert authors == [STRANGER.address, AUTHORS[0].address, "0x" + "00" * 20]
    for senseless in (["0"], ["51"], ["1", "--author", "nobody"]):
        with pytest.raises(SystemExit):
            mint([*senseless, "--directory", str(world)])


def test_the_revoked_key_is_repaired_by_a_new_one(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rehearse(["pinata-key", "--directory", str(world)]) == 0
    assert "write .2 to the end of PINATA_JWT" in capsys.readouterr().out
    assert [pin_with(jwt, world) for jwt in (SANDBOX_JWT, f"{SANDBOX_JWT}.2")] == [403, 200]
    assert rehearse(["pinata-key", "--end", "--directory", str(world)]) == 0
    assert pin_with(SANDBOX_JWT, world) == 200


def test_lists_what_can_happen_and_says_what_to_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rehearse([]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in MISHAPS)
    for command in (mint, lambda arguments: rehearse(["pinata-key", *arguments])):
        assert command(["--directory", str(tmp_path)]) == 1
        assert "make sandbox" in capsys.readouterr().err
