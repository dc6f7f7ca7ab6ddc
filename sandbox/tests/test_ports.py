"""Where the local world listens: as .env says, and never in another program's place."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from sandbox.accounts import STRANGER
from sandbox.chain import DemoChain
from sandbox.ports import NAMES, Ports, PortsTaken
from sandbox.tests.nodes import running_node
from sandbox.world import BASE_DIR, World, WorldOptions


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write a .env for the local world; the test's own environment names no port."""

    def write(**variables: str) -> None:
        path = tmp_path / "env"
        path.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        monkeypatch.setenv("GLISK_ENV_FILE", str(path))

    for name in ("RPC_URL", "REPLICATE_BASE_URL", "PINATA_API_URL", "PINATA_GATEWAY", "PORT"):
        monkeypatch.delenv(name)
    return write


def started(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `make sandbox` in a directory of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--directory", str(directory), *arguments],
        cwd=BASE_DIR,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.usefixtures("anvil_binary")
def test_nothing_is_deployed_into_a_foreign_node(
    env_file: Callable[..., None], tmp_path: Path
) -> None:
    with running_node() as foreign:
        env_file(RPC_URL=foreign.rpc_url)
        with started(tmp_path / "world") as world:
            _, said = world.communicate(timeout=60)
        chain = DemoChain(foreign.rpc_url)
        assert chain.block_number() == 0
        assert not chain.w3.eth.get_code(chain.contract.address)
    assert world.returncode == 1
    assert f"{foreign.port} (node: RPC_URL in .env)" in said
    assert "Traceback" not in said


def test_a_taken_port_is_named_or_replaced_by_a_free_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name in NAMES:
            ports = Ports(**{**vars(Ports.free()), name: port})
            with pytest.raises(PortsTaken, match=rf"  {port} \({name}") as refusal:
                ports.require_free(NAMES)
            assert str(refusal.value).count(" (") == 1
        world = World(tmp_path, ports=Ports(web=port), options=WorldOptions())
        with pytest.raises(PortsTaken, match="PORT and PUBLIC_BASE_URL"):
            world.start_apps(migrate=False)
        monkeypatch.setattr("sandbox.ports.Ports.__init__.__defaults__", (port,) * len(NAMES))
        assert port not in vars(Ports.default_or_free()).values()


@pytest.mark.usefixtures("anvil_binary")
def test_the_world_listens_where_the_file_says_and_takes_its_keys(
    env_file: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINATA_JWT", "a.key.of.ours")
    monkeypatch.setenv("KEEPER_ADDRESS", STRANGER.address)
    ports = Ports.free()
    places = {
        "RPC_URL": "node",
        "REPLICATE_BASE_URL": "replicate",
        "PINATA_API_URL": "pinata",
        "PINATA_GATEWAY": "gateway",
    }
    env_file(**{name: ports.url(place) for name, place in places.items()}, PORT=str(ports.web))
    with started(tmp_path / "world", "--block-time", "0.2", "--fresh") as world:
        assert world.stdout is not None
        listed = [world.stdout.readline().split() for _ in range(7)]
        chain = DemoChain(ports.url("node"))
        code = chain.w3.eth.get_code(chain.contract.address)
        assert chain.has_keeper_role(STRANGER.address)
        pinned = requests.post(
            f"{ports.url('pinata')}/pinning/pinFileToIPFS",
            files={"file": ("x", b"x")},
            headers={"Authorization": "Bearer a.key.of.ours"},
            timeout=60,
        )
        world.send_signal(signal.SIGTERM)
        world.communicate(timeout=60)
    assert dict(listed[:4]) == {place: ports.url(place) for place in places.values()}
    assert "flush" in " ".join(listed[6])  # what knew the old chain does not fit the new one
    assert code
    assert pinned.status_code == 200
