"""What the monkey does to a world, one trick after the other, by seed.

A trick begins, lasts for some seconds, and is undone. Tricks on the same part of the world (a
vendor, the node, the machines) never overlap, so that undoing one undoes no other.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
from web3.exceptions import Web3Exception

from sandbox.accounts import KEEPER
from sandbox.faulty_rpc import FaultyRpc, refused_as_list, refused_as_object, refused_by_status
from sandbox.world import World

DEEPEST_REORG: Final = 10
# What the node takes and gives at once when nothing else is done to it, and its pool's least tip.
MOST_CALLS, MOST_BLOCKS, LEAST_TIP_WEI = 20, 16, 2_000_000
# Always, of all calls of every vendor, and of all predictions.
EVERYWHERE: Final = {
    "throttle_rate": 0.05,
    "server_error_rate": 0.03,
    "drop_after_rate": 0.02,
    "error_after_rate": 0.02,
}
PREDICTIONS: Final = {"nsfw_rate": 0.02, "flagged_rate": 0.01, "garbage_rate": 0.01}
VENDORS: Final = ("replicate", "pinata", "gateway")
SHAPES: Final = ("string", "nested", "object", "images", "objects", "deep")
REFUSALS: Final = (
    "Request Moderated",
    "Your request was rejected as a result of our safety system.",
    "IMAGE_PROHIBITED_CONTENT",
)
_GWEI = 10**9
_FROZEN_SECONDS = 20.0  # longer than a lease

Undo = Callable[[], object] | None


@dataclass
class Zoo:
    """The world, the bad node in front of its chain, and the dice."""

    world: World
    node: FaultyRpc
    rng: random.Random
    done: list[str] = field(default_factory=list)  # what was done, in words

    def faults(self, vendor: str, **changes: Any) -> Undo:
        """Change how a vendor misbehaves; return what takes it back."""
        usual = {**usual_faults(vendor)}
        self.world.control(vendor, "faults", changes)
        return lambda: self.world.control(
            vendor, "faults", {name: usual.get(name) for name in changes}
        )

    def calm_node(self) -> None:
        """Have the node misbehave as it always does, no more."""
        self.node.calm()
        self.node.lose_some(EVERYWHERE["drop_after_rate"])
        self.node.limit_batches(MOST_CALLS, refused_as_list(-32600, "batch too large"))
        self.node.limit_logs(MOST_BLOCKS, 503)
        self.node.set_tips(LEAST_TIP_WEI // 2)
        self.node.refuse_sends("FeeTooLowToCompete", below_tip_wei=LEAST_TIP_WEI)

    def tree(self, kind: str) -> list[psutil.Process]:
        """Return one service of a kind (web, worker, node) and all of its children."""
        names = [
            name
            for name, service in self.world.services.items()
            if name.split("-")[0] == kind and service.is_running
        ]
        if not names:
            return []
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.world.services[self.rng.choice(sorted(names))].pid)
            return [root, *sorted(root.children(recursive=True), key=lambda child: child.pid)]
        return []


def usual_faults(vendor: str) -> dict[str, Any]:
    if vendor == "alchemy":
        return {}
    return {**EVERYWHERE, **(PREDICTIONS if vendor == "replicate" else {})}


# -- machines and processes -------------------------------------------------------------------


def _kill_a_child(zoo: Zoo) -> Undo:
    return _strike(zoo.tree("worker")[1:], zoo, signal.SIGKILL)


def _kill_a_cluster(zoo: Zoo) -> Undo:
    return _strike(zoo.tree("worker")[:1], zoo, signal.SIGKILL)


def _restart_a_cluster(zoo: Zoo) -> Undo:
    return _strike(zoo.tree("worker")[:1], zoo, signal.SIGTERM)


def _freeze_a_child(zoo: Zoo) -> Undo:
    return _freeze(zoo.tree("worker")[1:], zoo, all_of_them=False)


def _cut_a_machine_off(zoo: Zoo) -> Undo:
    """To the others a machine without network is one that does nothing and then comes back."""
    return _freeze(zoo.tree("worker"), zoo, all_of_them=True)


def _kill_a_web_process(zoo: Zoo) -> Undo:
    return _strike(zoo.tree("web")[1:], zoo, signal.SIGKILL)


def _restart_web(zoo: Zoo) -> Undo:
    return _strike(zoo.tree("web")[:1], zoo, signal.SIGTERM)


def _crash_database(zoo: Zoo) -> Undo:
    """Immediate shutdown: no checkpoint, all sessions cut off; the program starts it again."""
    pid_file = Path(zoo.world.env["EMBEDDED_DATABASE_DIR"]) / "postmaster.pid"
    with suppress(OSError, IndexError, ValueError, psutil.NoSuchProcess):
        psutil.Process(int(pid_file.read_text().split()[0])).send_signal(signal.SIGQUIT)
    return None


def _kill_node(zoo: Zoo) -> Undo:
    return _strike(zoo.tree("node")[:1], zoo, signal.SIGKILL)


def _freeze_node(zoo: Zoo) -> Undo:
    return _freeze(zoo.tree("node"), zoo, all_of_them=True)


def _strike(processes: list[psutil.Process], zoo: Zoo, number: signal.Signals) -> Undo:
    with suppress(psutil.NoSuchProcess, IndexError):
        zoo.rng.choice(processes).send_signal(number)
    return None


def _freeze(processes: list[psutil.Process], zoo: Zoo, *, all_of_them: bool) -> Undo:
    chosen = processes if all_of_them or not processes else [zoo.rng.choice(processes)]

    def send(number: signal.Signals) -> None:
        for process in chosen:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    send(signal.SIGSTOP)
    return lambda: send(signal.SIGCONT)


# -- the chain --------------------------------------------------------------------------------


def _reorganise(zoo: Zoo) -> Undo:
    """Replace the newest blocks; mints come again, reveals are forgotten by half."""
    chain = zoo.world.chain
    head, depth = chain.block_number(), zoo.rng.randint(1, DEEPEST_REORG)
    depth = min(depth, head - 1)
    keep = []
    for place in range(depth):
        block = chain.rpc("eth_getBlockByNumber", hex(head - depth + 1 + place), True)
        for sent in block["transactions"]:
            of_keeper = sent["from"].lower() == KEEPER.address.lower()
            if not of_keeper or zoo.rng.random() < 0.5:
                keep.append((sent["hash"], place))
    chain.reorg(depth, keep)
    return None


def _forget_transactions(zoo: Zoo) -> Undo:
    pending = zoo.world.chain.rpc("txpool_content")["pending"]
    for sender, by_nonce in pending.items():
        if sender.lower() == KEEPER.address.lower():
            for sent in by_nonce.values():
                zoo.world.chain.drop_transaction(sent["hash"])
    return None


def _raise_fees(zoo: Zoo) -> Undo:
    zoo.world.chain.set_base_fee(zoo.rng.choice((1, 20, 1000)) * _GWEI)
    return lambda: zoo.world.chain.set_base_fee(_GWEI // 200)


def _split_batches(zoo: Zoo) -> Undo:
    refusal = zoo.rng.choice(
        (
            refused_as_list(-32600, "batch too large"),
            refused_as_object(-32014, "too many requests in the batch"),
            refused_by_status(413),
        )
    )
    return _node(zoo, lambda node: node.limit_batches(3, refusal))


def _node(zoo: Zoo, begin: Callable[[FaultyRpc], object]) -> Undo:
    begin(zoo.node)
    return zoo.calm_node


# -- the vendors ------------------------------------------------------------------------------


def _change_model(zoo: Zoo) -> Undo:
    return zoo.faults(
        "replicate",
        output_shape=zoo.rng.choice(SHAPES),
        output_inline=zoo.rng.random() < 0.5,
        refusal_text=zoo.rng.choice(REFUSALS),
        refusal_in_logs=zoo.rng.random() < 0.5,
    )


def _the_node(switch: Callable[..., object], *arguments: object) -> Callable[[Zoo], Undo]:
    return lambda zoo: _node(zoo, lambda node: switch(node, *arguments))


def _vendor(name: str, **faults: Any) -> Callable[[Zoo], Undo]:
    return lambda zoo: zoo.faults(name, **faults)


def _any_vendor(rate: str) -> Callable[[Zoo], Undo]:
    return lambda zoo: zoo.faults(zoo.rng.choice(VENDORS), **{rate: 0.8})


@dataclass(frozen=True)
class Trick:
    """`part` is what it is done to; `seconds` is how long it lasts."""

    name: str
    part: str
    begin: Callable[[Zoo], Undo]
    seconds: float = 0.0


TRICKS: Final = (
    Trick("kill -9 of a worker's process", "machines", _kill_a_child),
    Trick("kill -9 of a whole worker", "machines", _kill_a_cluster),
    Trick("restart of a worker", "machines", _restart_a_cluster),
    Trick("a worker's process freezes", "machines", _freeze_a_child, _FROZEN_SECONDS),
    Trick("a machine is cut off", "machines", _cut_a_machine_off, _FROZEN_SECONDS),
    Trick("kill -9 of a web process", "machines", _kill_a_web_process),
    Trick("restart of the web server", "machines", _restart_web),
    Trick("the database crashes", "machines", _crash_database, 3.0),
    Trick("kill -9 of the node", "chain", _kill_node, 5.0),
    Trick("the node freezes", "chain", _freeze_node, 6.0),
    Trick("a reorg", "chain", _reorganise),
    Trick("the pool forgets", "chain", _forget_transactions),
    Trick("fees spike", "chain", _raise_fees, 8.0),
    Trick("the node lags", "node", _the_node(FaultyRpc.lag), 6.0),
    Trick("the node splits batches", "node", _split_batches, 8.0),
    Trick("the node narrows ranges", "node", _the_node(FaultyRpc.limit_logs, 2, 503), 8.0),
    Trick("the node hides logs", "node", _the_node(FaultyRpc.limit_logs, 0, 429), 8.0),
    Trick("the node swallows", "node", _the_node(FaultyRpc.swallow, 3), 8.0),
    Trick("receipts come late", "node", _the_node(FaultyRpc.delay_receipts, 4.0), 8.0),
    Trick("the pool refuses", "node", _the_node(FaultyRpc.refuse_sends, "fee too low"), 6.0),
    Trick("replies of the node are lost", "node", _the_node(FaultyRpc.lose_some, 0.4), 6.0),
    Trick("5xx", "vendors", _any_vendor("server_error_rate"), 6.0),
    Trick("429", "vendors", _any_vendor("throttle_rate"), 6.0),
    Trick("replies lost after acceptance", "vendors", _any_vendor("drop_after_rate"), 6.0),
    Trick("5xx after acceptance", "vendors", _any_vendor("error_after_rate"), 6.0),
    Trick("connections refused", "vendors", _any_vendor("drop_before_rate"), 6.0),
    Trick("another model", "vendors", _change_model, 12.0),
    Trick("refusals", "vendors", _vendor("replicate", nsfw_rate=0.4), 6.0),
    Trick("garbage images", "vendors", _vendor("replicate", garbage_rate=0.4), 6.0),
    Trick("no callbacks", "vendors", _vendor("replicate", webhook_lost_rate=1.0), 8.0),
    Trick("no listing", "vendors", _vendor("replicate", list_refusal=500), 6.0),
    Trick("a clock runs ahead", "vendors", _vendor("replicate", clock_ahead_seconds=90.0), 10.0),
    Trick("a clock is behind", "vendors", _vendor("replicate", clock_ahead_seconds=-90.0), 10.0),
    Trick("wrong CIDs", "vendors", _vendor("pinata", wrong_cid_rate=0.3), 3.0),
    Trick("wrong bytes", "vendors", _vendor("gateway", wrong_content_rate=0.4), 6.0),
    Trick("cut bytes", "vendors", _vendor("gateway", truncated_rate=0.4), 6.0),
    Trick("no webhooks", "alchemy", _vendor("alchemy", webhook_lost_rate=1.0), 10.0),
    Trick(
        "webhooks late, twice, out of order",
        "alchemy",
        _vendor("alchemy", webhook_late_seconds=(0.0, 5.0), webhook_twice_rate=0.5),
        10.0,
    ),
)


class Monkey:
    """Does each trick once, in an order of its own, and then any, one every `pause_seconds`."""

    def __init__(self, zoo: Zoo, *, pause_seconds: float) -> None:
        self._zoo, self._pause = zoo, pause_seconds
        self._bag: list[Trick] = []
        self._undo: dict[str, tuple[float, Undo, Trick]] = {}  # by part
        self._next_at = time.monotonic() + pause_seconds

    def step(self) -> None:
        """Undo what has lasted long enough; begin the next trick if it is time."""
        now = time.monotonic()
        for part, (ends, undo, trick) in list(self._undo.items()):
            if now >= ends and self._try(undo or (lambda: None), trick):
                del self._undo[part]
        if now < self._next_at:
            return
        if not self._bag:
            self._bag = list(TRICKS)
            self._zoo.rng.shuffle(self._bag)
        free = [trick for trick in self._bag if trick.part not in self._undo]
        if not free:
            return
        trick = free[0]
        self._next_at = now + self._pause
        self._bag.remove(trick)
        try:
            undo = trick.begin(self._zoo)
        except (OSError, Web3Exception, RuntimeError) as error:  # what it is done to is down
            self._zoo.done.append(f"(not done: {trick.name}: {error})")
            return
        self._zoo.done.append(trick.name)
        self._undo[trick.part] = (now + trick.seconds, undo, trick)

    def _try(self, undo: Callable[[], object], trick: Trick) -> bool:
        try:
            undo()
        except (OSError, Web3Exception, RuntimeError):
            return False  # once more at the next step
        return True

    def rest(self, seconds: float = 60.0) -> None:
        """Undo everything. Raises `TimeoutError` if a part does not come back."""
        deadline = time.monotonic() + seconds
        self._next_at = float("inf")
        self._undo = {part: (0.0, undo, trick) for part, (_, undo, trick) in self._undo.items()}
        while self._undo:
            self.step()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not undone: {[t.name for _, _, t in self._undo.values()]}")
            time.sleep(0.2)
