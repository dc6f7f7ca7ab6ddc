"""The local EVM node (anvil) as a child process, with blocks and fees like Base's.

    python -m sandbox.node --state-file var/sandbox/chain.json

Anvil can write its state by itself, but it does so on every interval whether anything happened
or not (1.8 kB per block of history: one second of work after a day), and into the file in place,
so that a kill -9 at the wrong moment leaves half a file. Here the state is saved when a block
carried a transaction, and replaced atomically. A kill -9 loses the empty blocks since the last
save, as a reorg would.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self

from glisk.engine.process import die_with
from sandbox.anvil import AnvilInstallError, ensure_anvil
from sandbox.rpc import Header, HeadFollower, RpcClient, RpcError

__all__ = ["AnvilInstallError", "Node", "NodeError", "ensure_anvil"]

DEFAULT_PORT = 8545
CHAIN_ID = 31337
BLOCK_TIME_SECONDS = 2.0
BASE_FEE_WEI = 5_000_000  # Base mainnet's minimum since 19 Feb 2026.
BLOCK_GAS_LIMIT = 400_000_000
STATES_IN_MEMORY = 128
READY_TIMEOUT_SECONDS = 60.0
WATCH_SECONDS = 0.5
# Also when nothing happens: bounds how many empty blocks a crash loses.
IDLE_CHECKPOINT_BLOCKS = 20
# A save may use this part of the node's time at most, however long its history has become.
CHECKPOINT_SHARE = 0.1


class NodeError(Exception):
    """The node did not start; the message holds the end of its log."""


class Node:
    """One anvil process. Start it from a thread that outlives it: on Linux it dies with it.

    `block_time` is in seconds: a fraction is allowed, 0 mines at every transaction, None mines
    only when told to. Blocks faster than one second push the chain's clock ahead of real time,
    since no two blocks may share a timestamp. `port` 0 takes a free one. The log file gets errors
    only.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        block_time: float | None = BLOCK_TIME_SECONDS,
        chain_id: int = CHAIN_ID,
        state_file: Path | None = None,
        log_file: Path | None = None,
    ) -> None:
        self.host = host
        self.port = port or free_port()
        self.block_time = block_time
        self.chain_id = chain_id
        self.state_file = state_file
        self.log_file = log_file
        # Short-lived automining nodes have no time to let the base fee sink.
        self.hold_base_fee = bool(block_time)
        self.process: subprocess.Popen[bytes] | None = None
        self._upkeep: _Upkeep | None = None

    @property
    def rpc_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        if self.process is None:
            raise NodeError("the node is not running")
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> Self:
        """Start the process, wait until it answers, and look after it from then on.

        Raises:
            AnvilInstallError: the binary is missing and could not be installed.
            NodeError: the process ended, does not answer, or the state file is damaged.
        """
        if not is_free(self.port):  # anvil would end, and the other node would answer for it
            raise NodeError(f"port {self.port} is in use")
        command = [str(ensure_anvil()), *self._arguments()]
        if self.log_file is not None:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log_file or os.devnull, "ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=partial(die_with, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 - no lock
            )
        try:
            self._wait_ready()
            self._begin_upkeep()
        except BaseException:
            self.kill()
            raise
        return self

    def _wait_ready(self) -> None:
        """Return once the node answers as the chain that was asked for.

        Raises:
            NodeError: it ended, or did not answer in time.
        """
        rpc = RpcClient(self.rpc_url, timeout_seconds=2)
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if not self.is_running:
                raise NodeError(
                    f"the node ended at once; is port {self.port} in use?{self._tail()}"
                )
            try:
                chain_id = int(rpc.call("eth_chainId"), 16)
            except (OSError, RpcError):
                time.sleep(0.02)
                continue
            finally:
                rpc.close()
            if chain_id != self.chain_id:
                raise NodeError(f"another node (chain {chain_id}) answers at port {self.port}")
            return
        raise NodeError(f"the node did not answer in time{self._tail()}")

    def stop(self) -> None:
        """Save the state, end the process and wait for it. Does nothing if it is not running."""
        if self._upkeep is not None:
            self._upkeep.stop()
            self._upkeep = None
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def kill(self) -> None:
        """End the process with SIGKILL and save nothing, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        if self._upkeep is not None:
            self._upkeep.stop()
            self._upkeep = None

    def checkpoint(self) -> None:
        if self._upkeep is not None:
            self._upkeep.checkpoint()

    def __enter__(self) -> Self:
        return self if self.process is not None else self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _arguments(self) -> list[str]:
        arguments = [
            *("--host", self.host, "--port", str(self.port)),
            *("--chain-id", str(self.chain_id), "--hardfork", "osaka", "--quiet"),
            *("--block-base-fee-per-gas", str(BASE_FEE_WEI)),
            *("--gas-limit", str(BLOCK_GAS_LIMIT), "--enable-tx-gas-limit"),
            # Older states would be written to disk and cost time at every block.
            *("--prune-history", str(STATES_IN_MEMORY)),
        ]
        if self.block_time is None:
            arguments.append("--no-mining")
        elif self.block_time > 0:
            arguments += ["--block-time", f"{self.block_time:g}"]
        if self.state_file is not None:
            self.state_file.parent.mkdir(parents=True, exist_ok=True)
            if self.state_file.exists():
                _require_whole(self.state_file)
                arguments += ["--load-state", str(self.state_file)]
        return arguments

    def _begin_upkeep(self) -> None:
        if self.state_file is not None or self.hold_base_fee:
            floor_wei = BASE_FEE_WEI if self.hold_base_fee else None
            self._upkeep = _Upkeep(
                self.rpc_url, base_fee_floor_wei=floor_wei, state_file=self.state_file
            )
            self._upkeep.start()

    def _tail(self) -> str:
        if self.log_file is None:
            return ""
        return f"\n{self.log_file.read_text(errors='replace')[-1500:]}"


class _Upkeep:
    """Hold the base fee at a floor and save the state, at every new head."""

    def __init__(
        self, rpc_url: str, *, base_fee_floor_wei: int | None, state_file: Path | None
    ) -> None:
        self._rpc = RpcClient(rpc_url)
        self._floor_wei = base_fee_floor_wei
        self._state_file = state_file
        self._lock = threading.Lock()
        self._saved_block = -IDLE_CHECKPOINT_BLOCKS
        self._head = -1
        self._not_before = 0.0
        self._timer: threading.Timer | None = None
        self._follower = HeadFollower(rpc_url, self._on_head)

    def start(self) -> None:
        self._follower.start()

    def stop(self) -> None:
        """Stop, and save the state a last time if the node still answers."""
        self._follower.stop()
        if self._timer is not None:
            self._timer.cancel()
        with suppress(OSError, RpcError):  # The node is gone: the last checkpoint stands.
            self.checkpoint()
        self._rpc.close()

    def checkpoint(self) -> None:
        if self._state_file is None:
            return
        with self._lock:
            self._save(self._state_file)

    def _on_head(self, header: Header) -> None:
        number = int(header["number"], 16)
        self._hold_base_fee(header)
        if self._state_file is None:
            return
        went_back, self._head = number <= self._head, number
        busy = int(header["gasUsed"], 16) > 0
        if busy or went_back or number - self._saved_block >= IDLE_CHECKPOINT_BLOCKS:
            self._save_soon()

    def _hold_base_fee(self, header: Header) -> None:
        """Keep the next base fee from sinking under the floor, as Base's minimum does."""
        if self._floor_wei is None:
            return
        # An empty block lowers the next base fee by one eighth (EIP-1559).
        if int(header["baseFeePerGas"], 16) * 7 // 8 < self._floor_wei:
            self._rpc.call("anvil_setNextBlockBaseFeePerGas", hex(self._floor_wei))

    def _save_soon(self) -> None:
        if self._timer is None:
            pause = max(0.0, self._not_before - time.monotonic())
            self._timer = threading.Timer(pause, self._save_late)
            self._timer.daemon = True
            self._timer.start()

    def _save_late(self) -> None:
        self._timer = None  # a head that comes meanwhile is saved by another one
        with suppress(OSError, RpcError):  # The node is gone: the next head saves again.
            self.checkpoint()

    def _save(self, state_file: Path) -> None:
        started = time.monotonic()
        dump = self._rpc.call("anvil_dumpState")
        temporary = state_file.with_name(state_file.name + ".new")
        temporary.write_bytes(gzip.decompress(bytes.fromhex(dump[2:])))
        temporary.replace(state_file)
        self._saved_block = self._head
        finished = time.monotonic()
        self._not_before = finished + (finished - started) / CHECKPOINT_SHARE


def _require_whole(state_file: Path) -> None:
    """Raise NodeError unless the state can be loaded."""
    try:
        with state_file.open("rb") as stream:
            json.load(stream)
    except ValueError as error:
        raise NodeError(f"{state_file} is damaged: delete it for a new chain") from error


def free_port() -> int:
    """Return a loopback port that nobody else gets by chance as long as this process lives.

    It stays bound, without listening: whoever asks for any port gets another one, a server that
    names this one gets it (by SO_REUSEADDR, as servers do), and until then calls are refused.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    port = int(reserved.getsockname()[1])
    reserved.detach()  # the kernel closes it when the process ends
    return port


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        # As servers do: a port that an ended server's connections linger on is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def main() -> int:
    """Run a node in the foreground until SIGINT or SIGTERM; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.node", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--block-time", type=float, default=BLOCK_TIME_SECONDS, help="seconds")
    parser.add_argument("--state-file", type=Path, help="keep the chain here between runs")
    parser.add_argument("--log-file", type=Path, help="what the node says of itself")
    options = parser.parse_args()
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    try:
        node = Node(**vars(options)).start()
    except (AnvilInstallError, NodeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"node ready at {node.rpc_url}, pid {node.pid}", flush=True)
    # In steps: a signal that comes just before a wait does not end it.
    while node.is_running and not ending.wait(WATCH_SECONDS):
        pass
    crashed = not node.is_running
    node.stop()
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
