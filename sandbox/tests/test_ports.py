"""Where the local world listens: as .env says, and never in another program's place."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sandbox.chain import DemoChain
from sandbox.node import free_port
from sandbox.ports import NAMES, Ports, PortsTaken
from sandbox.tests.nodes import running_node
from sandbox.world import BASE_DIR, World, WorldOptions

Start = Callable[..., "subprocess.Popen[str]"]


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


@pytest.fixture
def start_world(tmp_path: Path) -> Iterator[Start]:
    """Start `make sandbox` in a directory of its own; it is ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        directory = str(tmp_path / "world")
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--directory", directory, *arguments],
            cwd=BASE_DIR,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_ports_are_those_at_which_the_program_looks(env_file: Callable[..., None]) -> None:
    env_file(
        RPC_URL="http://localhost:18545/",
        REPLICATE_BASE_URL="http://127.0.0.1:18601",
        PINATA_API_URL="http://127.0.0.1:18602/",
        PINATA_GATEWAY="127.0.0.1:18603,gateway.example",
        PORT="18000",
    )
    ports = Ports.from_environment()
    assert (ports.node, ports.replicate, ports.pinata, ports.gateway, ports.web) == (
        18545, 18601, 18602, 18603, 18000,
    )  # fmt: skip


@pytest.mark.parametrize("elsewhere", ["", "https://base.example:99", "https://base.example", "?"])
def test_what_is_looked_for_elsewhere_listens_where_it_usually_does(
    elsewhere: str, env_file: Callable[..., None]
) -> None:
    env_file(RPC_URL=elsewhere, PINATA_GATEWAY=elsewhere)
    ports = Ports.from_environment()
    assert (ports.node, ports.gateway) == (Ports().node, Ports().gateway)


def test_nothing_is_deployed_into_a_foreign_node(
    env_file: Callable[..., None], start_world: Start
) -> None:
    with running_node() as foreign:
        env_file(RPC_URL=foreign.rpc_url)
        world = start_world()
        _, said = world.communicate(timeout=60)
        chain = DemoChain(foreign.rpc_url)
        assert chain.block_number() == 0
        assert not chain.w3.eth.get_code(chain.contract.address)
    assert world.returncode == 1
    assert f"{foreign.port} (node: RPC_URL in .env)" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", NAMES)
def test_each_port_that_is_taken_is_named(name: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        ports = Ports(**{**{name: free_port() for name in NAMES}, name: port})
        with pytest.raises(PortsTaken, match=rf"  {port} \({name}") as refusal:
            ports.require_free(NAMES)
    assert str(refusal.value).count(" (") == 1


def test_a_foreign_web_server_is_not_taken_for_ours(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        ports = Ports(web=taken.getsockname()[1])
        with pytest.raises(PortsTaken, match="PORT and PUBLIC_BASE_URL"):
            World(tmp_path, ports=ports, options=WorldOptions()).start_apps(migrate=False)


def test_the_world_listens_where_the_file_says(
    env_file: Callable[..., None], start_world: Start
) -> None:
    ports = Ports.free()
    env_file(
        RPC_URL=ports.url("node"),
        REPLICATE_BASE_URL=ports.url("replicate"),
        PINATA_API_URL=ports.url("pinata"),
        PINATA_GATEWAY=ports.url("gateway"),
        PORT=str(ports.web),
    )
    world = start_world("--block-time", "0.2", "--fresh")
    assert world.stdout is not None
    listed = [world.stdout.readline().split() for _ in range(7)]
    assert "flush" in " ".join(listed[6])  # what knew the old chain does not fit the new one
    assert dict(listed[:4]) == {
        name: ports.url(name) for name in ("node", "replicate", "pinata", "gateway")
    }
    chain = DemoChain(ports.url("node"))
    assert chain.w3.eth.get_code(chain.contract.address)
