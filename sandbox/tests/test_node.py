"""The local node: installing, starting, ending, and what survives a crash."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glisk.tests.waiting import eventually
from sandbox import anvil
from sandbox.accounts import AUTHORS
from sandbox.anvil import AnvilInstallError, ensure_anvil, install_anvil
from sandbox.chain import DemoChain
from sandbox.node import BASE_FEE_WEI, Node, NodeError
from sandbox.tests.nodes import deployed_chain, running_node

pytestmark = pytest.mark.usefixtures("anvil_binary")


def test_the_pinned_version_is_installed_unless_one_has_an_anvil_of_ones_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANVIL_BINARY", sys.executable)
    assert ensure_anvil() == Path(sys.executable)
    assert "1.7.1" in subprocess.check_output([install_anvil(), "--version"], text=True)
    monkeypatch.setenv("ANVIL_BINARY", "/nonexistent/anvil")
    with pytest.raises(AnvilInstallError, match="ANVIL_BINARY"):
        ensure_anvil()


def test_the_lockfile_names_no_registry_and_every_platform() -> None:
    text = (anvil.SANDBOX / "package-lock.json").read_text()
    assert "resolved" not in text
    packages = json.loads(text)["packages"]
    # npm ci refuses a lockfile that lacks one, on every platform.
    for name, version in packages["node_modules/@foundry-rs/anvil"]["optionalDependencies"].items():
        assert packages[f"node_modules/{name}"]["version"] == version


def test_interval_blocks_come_by_themselves_and_the_base_fee_does_not_sink() -> None:
    with running_node(block_time=0.2) as node:
        chain = DemoChain(node.rpc_url)
        assert chain.w3.eth.chain_id == 31337
        eventually(lambda: chain.block_number() >= 8)
        assert chain.base_fee_wei() == BASE_FEE_WEI
        chain.set_base_fee(100 * BASE_FEE_WEI)
        eventually(lambda: chain.base_fee_wei() > 50 * BASE_FEE_WEI)
        eventually(lambda: chain.base_fee_wei() < 50 * BASE_FEE_WEI)


def test_stop_and_start_continue_the_chain(tmp_path: Path) -> None:
    state = tmp_path / "chain.json"
    with running_node(state_file=state) as node:
        chain = deployed_chain(node)
        mined = chain.wait(chain.mint(1, AUTHORS[0].address, 3))
        block_number = chain.block_number()
        with pytest.raises(NodeError, match=str(node.port)):
            Node(port=node.port, block_time=0).start()
    time.sleep(2)
    with running_node(state_file=state) as node:
        chain = DemoChain(node.rpc_url)
        assert (chain.block_number(), chain.next_token_id()) == (block_number, 4)
        assert chain.mints()[0].block_hash == mined["blockHash"].to_0x_hex()
        now = int(time.time())
        assert chain.wait(chain.mint(2, AUTHORS[0].address))["status"] == 1
        # The node's clock does not stay where the saved chain stopped.
        assert chain.block_timestamp(block_number + 1) >= now


def test_a_killed_node_goes_on_from_its_last_transaction(tmp_path: Path) -> None:
    state = tmp_path / "chain.json"
    with running_node(state_file=state, block_time=1) as node:
        chain = deployed_chain(node)
        mined = chain.wait(chain.mint(1, AUTHORS[0].address, 2))
        block = mined["blockNumber"]
        eventually(lambda: json.loads(state.read_text())["block"]["number"] >= hex(block))
        node.kill()
        node.start()
        assert chain.block_number() >= block
        assert chain.mints()[0].tx_hash == mined["transactionHash"].to_0x_hex()
        assert chain.wait(chain.mint(2, AUTHORS[0].address))["status"] == 1
        node.stop()
    state.write_text('{"accounts": {"0x')
    with pytest.raises(NodeError, match="damaged"):
        Node(port=0, block_time=0, state_file=state).start()
    assert state.read_text() == '{"accounts": {"0x'
