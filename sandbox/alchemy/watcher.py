"""Watch the canonical chain: every block once, and again when a reorg replaced it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sandbox.heads import Header, HeadFollower
from sandbox.rpc import RpcClient

REMEMBERED_BLOCKS = 512


class ChainWatcher:
    """Call `on_block` with each canonical block's header, in order, from one thread.

    It is called again for a number whose block was replaced. After an outage (of the node, or of
    the connection) all blocks since the last one follow. A node that starts a new chain is
    watched from that chain's first block.
    """

    def __init__(
        self, rpc_url: str, on_block: Callable[[Header], None], *, from_block: int | None = None
    ) -> None:
        """Prepare; without `from_block` watching begins after the current head."""
        self._rpc = RpcClient(rpc_url)
        self._on_block = on_block
        self._first = from_block
        self._genesis = ""
        self._hashes: dict[int, str] = {}
        self.head = -1
        self._has_head = threading.Event()
        self._follower = HeadFollower(rpc_url, self.on_head)

    def start(self) -> None:
        """Begin to watch in the background."""
        self._follower.start()

    def wait_for_head(self, timeout_seconds: float) -> bool:
        """Return whether the node told of its head in time: from then on no block is missed."""
        return self._has_head.wait(timeout_seconds)

    def stop(self) -> None:
        """End the thread."""
        self._follower.stop()
        self._rpc.close()

    def on_head(self, header: Header) -> None:
        """Take a new head: report the blocks that it makes canonical and that are new."""
        number = int(header["number"], 16)
        if not self._genesis:
            self._notice_new_chain()
        if self._first is None:
            self._first = number + 1
            self._hashes = {number: header["hash"]}
            self.head = number
        self._has_head.set()
        if self._hashes.get(number) == header["hash"] and self.head == number:
            return
        for block in self._new_branch(header):
            self._on_block(block)
            self._remember(block)

    def _new_branch(self, header: Header) -> list[Header]:
        """Return the blocks from the last one seen in common up to this head, oldest first."""
        assert self._first is not None
        branch = [header]
        number = int(header["number"], 16)
        if self._hashes.get(number - 1) != header["parentHash"]:
            self._notice_new_chain()
        while (number := number - 1) >= self._first:
            if self._hashes.get(number) == branch[-1]["parentHash"]:
                break
            parent = self._rpc.call("eth_getBlockByHash", branch[-1]["parentHash"], False)
            if parent is None:
                return []  # Replaced while we looked; the next head tells of it.
            branch.append(parent)
        return [block for block in reversed(branch) if int(block["number"], 16) >= self._first]

    def _notice_new_chain(self) -> None:
        genesis = self._rpc.call("eth_getBlockByNumber", "0x0", False)["hash"]
        if self._genesis and genesis != self._genesis:
            self._first = 0
            self._hashes.clear()
        self._genesis = genesis

    def _remember(self, block: Header) -> None:
        number = int(block["number"], 16)
        for stale in [known for known in self._hashes if known > number]:
            del self._hashes[stale]
        self._hashes[number] = block["hash"]
        self._hashes.pop(number - REMEMBERED_BLOCKS, None)
        self.head = number
