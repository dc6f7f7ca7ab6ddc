"""What a long-lived local node needs from outside: a base fee floor and saved state.

Anvil can write its state by itself, but it does so on every interval whether anything happened
or not (1.8 kB per block of history: one second of work after a day), and into the file in place,
so that a kill -9 at the wrong moment leaves half a file. Here the state is saved when a block
carried a transaction, and replaced atomically.
"""

import gzip
import json
import threading
import time
from contextlib import suppress
from pathlib import Path

from sandbox.heads import Header, HeadFollower
from sandbox.rpc import RpcClient, RpcError

# Also when nothing happens: bounds how many empty blocks a restart has to make up for.
IDLE_CHECKPOINT_BLOCKS = 300
# A save may use this part of the node's time at most, however long its history has become.
CHECKPOINT_SHARE = 0.1


class Upkeep:
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
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
        with suppress(OSError, RpcError):  # The node is gone: the last checkpoint stands.
            self.checkpoint()
        self._rpc.close()

    def checkpoint(self) -> None:
        """Save the state now, if a state file was asked for."""
        if self._state_file is None:
            return
        with self._lock:
            self._save()

    def _on_head(self, header: Header) -> None:
        number = int(header["number"], 16)
        self._hold_base_fee(header)
        if self._state_file is None:
            return
        went_back, self._head = number <= self._head, number
        _replace(head_file(self._state_file), str(number).encode())
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
        with self._lock:
            wait_seconds = self._not_before - time.monotonic()
            if wait_seconds <= 0:
                self._save()
            elif self._timer is None:
                self._timer = threading.Timer(wait_seconds, self._save_late)
                self._timer.daemon = True
                self._timer.start()

    def _save_late(self) -> None:
        with self._lock:
            self._timer = None
            with suppress(OSError, RpcError):  # The node is gone: the next head saves again.
                self._save()

    def _save(self) -> None:
        """Write the state file; the caller holds the lock."""
        assert self._state_file is not None
        started = time.monotonic()
        dump = self._rpc.call("anvil_dumpState")
        _replace(self._state_file, gzip.decompress(bytes.fromhex(dump[2:])))
        self._saved_block = self._head
        finished = time.monotonic()
        self._not_before = finished + (finished - started) / CHECKPOINT_SHARE


def head_file(state_file: Path) -> Path:
    """Return the file that keeps the number of the last block seen, beside the state."""
    return state_file.with_name(state_file.name + ".head")


def make_up_lost_blocks(rpc: RpcClient, state_file: Path, seconds_per_block: float) -> int:
    """Mine what a crash lost, so that block numbers never run backwards; return how many.

    Those blocks were empty (every other one was saved within moments): only their hashes differ.
    The node's clock must stand at the last saved block; it is set to the present afterwards.
    """
    lost = max(0, _last_block_seen(state_file) - int(rpc.call("eth_blockNumber"), 16))
    if lost:
        rpc.call("anvil_setBlockTimestampInterval", max(1, int(seconds_per_block)))
        rpc.call("anvil_mine", hex(lost))
        rpc.call("anvil_removeBlockTimestampInterval")
    latest = int(rpc.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    rpc.call("evm_setTime", hex(max(int(time.time()), latest)))
    return lost


def saved_timestamp(state_file: Path) -> int | None:
    """Return the time of the state's last block in Unix seconds; None if it cannot be loaded."""
    try:
        with open(state_file, "rb") as stream:
            return int(json.load(stream)["block"]["timestamp"], 16)
    except (OSError, ValueError, KeyError):
        return None


def _last_block_seen(state_file: Path) -> int:
    try:
        return int(head_file(state_file).read_text())
    except (OSError, ValueError):
        return 0


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(content)
    temporary.replace(path)
