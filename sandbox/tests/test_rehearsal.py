"""An operator practises: mints by a command, lets a vendor fail, repairs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from sandbox.accounts import AUTHORS, KEEPER, STRANGER
from sandbox.chain import DemoChain
from sandbox.gateway.emulator import GatewayEmulator
from sandbox.pinata.emulator import SANDBOX_JWT, PinataEmulator
from sandbox.ports import Ports
from sandbox.rehearsal.__main__ import main as rehearse
from sandbox.rehearsal.mint import main as mint
from sandbox.rehearsal.mishaps import MISHAPS, NEW_PINATA_JWT
from sandbox.replicate.emulator import ReplicateEmulator
from sandbox.tests.nodes import deployed_chain, running_node


class Place:
    """A node and emulators in this process, found by the directory as a real world is."""

    def __init__(self, directory: Path, ports: Ports, pinata: PinataEmulator) -> None:
        self.directory, self.pinata = str(directory), pinata
        ports.write(directory)
        self.chain = DemoChain(ports.url("node"))

    def pin_with(self, jwt: str) -> requests.Response:
        return requests.post(
            f"{self.pinata.url}/pinning/pinFileToIPFS",
            files={"file": ("x", b"x")},
            headers={"Authorization": f"Bearer {jwt}"},
            timeout=5,
        )


@pytest.fixture(scope="module")
def world(anvil_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("world")
    with (
        running_node() as node,
        PinataEmulator(pin_seconds=0.0) as pinata,
        ReplicateEmulator() as replicate,
        GatewayEmulator(store=directory / "ipfs") as gateway,
    ):
        deployed_chain(node)
        ports = Ports(
            node=_port(node.rpc_url),
            pinata=_port(pinata.url),
            replicate=_port(replicate.url),
            gateway=_port(gateway.url),
        )
        yield Place(directory, ports, pinata)


def _port(url: str) -> int:
    return urlsplit(url).port or 0


def test_mints_so_many_tokens_of_an_author(
    world: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    first = world.chain.next_token_id()
    assert mint(["3", "--author", STRANGER.address, "--directory", world.directory]) == 0
    assert world.chain.next_token_id() == first + 3
    assert world.chain.token_prompt_author(first + 2) == STRANGER.address
    said = capsys.readouterr().out
    assert f"tokens {first} to {first + 2} of {STRANGER.address}" in said

    assert mint(["--directory", world.directory]) == 0
    assert world.chain.token_prompt_author(first + 3) == AUTHORS[0].address


@pytest.mark.parametrize("arguments", [["0"], ["51"], ["1", "--author", "nobody"]])
def test_a_senseless_mint_is_refused(world: Place, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        mint([*arguments, "--directory", world.directory])
    assert ended.value.code == 2


def test_the_revoked_key_is_repaired_by_a_new_one(
    world: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.pin_with(SANDBOX_JWT).status_code == 200
    assert rehearse(["pinata-key", "--directory", world.directory]) == 0
    assert f"PINATA_JWT={NEW_PINATA_JWT}" in capsys.readouterr().out
    refused = world.pin_with(SANDBOX_JWT)
    assert (refused.status_code, refused.json()["error"]["reason"]) == (403, "API_KEY_REVOKED")
    assert world.pin_with(NEW_PINATA_JWT).status_code == 200
    assert world.pin_with("somebody else's").status_code == 401
    assert rehearse(["pinata-key", "--end", "--directory", world.directory]) == 0
    assert world.pin_with(SANDBOX_JWT).status_code == 200


@pytest.mark.parametrize(
    "name", [name for name, mishap in MISHAPS.items() if mishap.vendor != "alchemy"]
)
def test_every_mishap_begins_and_ends(world: Place, name: str) -> None:
    for arguments in ([name], [name], [name, "--end"]):  # twice is once
        assert rehearse([*arguments, "--directory", world.directory]) == 0
    assert world.pinata.faults == PinataEmulator.faults_class()


def test_the_keeper_is_left_without_ether(world: Place) -> None:
    assert rehearse(["keeper-empty", "--directory", world.directory]) == 0
    assert world.chain.balance_wei(KEEPER.address) == 0
    assert rehearse(["keeper-empty", "--end", "--directory", world.directory]) == 0
    assert world.chain.balance_wei(KEEPER.address) == 10 * 10**18


def test_lists_what_can_happen_without_a_world(capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearse([]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in MISHAPS)


def test_without_a_world_it_says_what_to_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (mint, lambda arguments: rehearse(["pinata-key", *arguments])):
        assert command(["--directory", str(tmp_path)]) == 1
        assert "make sandbox" in capsys.readouterr().err
