"""What can be done to a world, and how each of it is taken back."""

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

from glisk.database.embedded_postgres import Layout
from sandbox.accounts import KEEPER
from sandbox.chaos.cable import Cable
from sandbox.chaos.clock import Clock
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
# Half of the callbacks are lost: a reply that is lost too is found by a look at the listing only.
PREDICTIONS: Final = {
    "nsfw_rate": 0.02,
    "flagged_rate": 0.01,
    "garbage_rate": 0.01,
    "webhook_lost_rate": 0.5,
}
VENDORS: Final = ("replicate", "pinata", "gateway")
SHAPES: Final = ("string", "nested", "object", "images", "objects", "deep")
REFUSALS: Final = (
    "Request Moderated",
    "Your request was rejected as a result of our safety system.",
    "IMAGE_PROHIBITED_CONTENT",
)
_GWEI = 10**9
_PATIENCE_SECONDS = 5.0
_FROZEN_SECONDS = 20.0  # longer than a lease

Undo = Callable[[], object] | None


@dataclass
class Zoo:
    """The world, the bad node in front of its chain, one worker's cable and clock, and the dice."""

    world: World
    node: FaultyRpc
    cable: Cable
    clock: Clock | None
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
        """Return one service of a kind (web, worker, node, database) and what it has started."""
        with suppress(psutil.NoSuchProcess):
            root = self._database() if kind == "database" else self._service(kind)
            if root is not None:
                return [root, *sorted(root.children(recursive=True), key=lambda child: child.pid)]
        return []

    def _database(self) -> psutil.Process | None:
        return Layout(Path(self.world.env["EMBEDDED_DATABASE_DIR"])).postmaster()

    def _service(self, kind: str) -> psutil.Process | None:
        running = [
            name
            for name, service in sorted(self.world.services.items())
            if name.split("-")[0] == kind and service.is_running
        ]
        return (
            psutil.Process(self.world.services[self.rng.choice(running)].pid) if running else None
        )


def usual_faults(vendor: str) -> dict[str, Any]:
    if vendor == "alchemy":
        return {}
    return {**EVERYWHERE, **(PREDICTIONS if vendor == "replicate" else {})}


# -- machines and processes -------------------------------------------------------------------


def _signal(kind: str, number: signal.Signals, *, whole: bool = False) -> Callable[[Zoo], Undo]:
    """Send a signal to the first process of a service (`whole`), or to one that it started."""

    def strike(zoo: Zoo) -> Undo:
        tree = zoo.tree(kind)
        with suppress(psutil.NoSuchProcess):
            _one_of(tree[:1] if whole else tree[1:], zoo).send_signal(number)
        return None

    return strike


def _one_of(processes: list[psutil.Process], zoo: Zoo) -> psutil.Process:
    if not processes:
        raise RuntimeError("it does not run")
    return zoo.rng.choice(processes)


def _freeze(kind: str, *, whole: bool = False) -> Callable[[Zoo], Undo]:
    """Stop all processes of a service (`whole`), or one that it started; let them go on later."""

    def stop(zoo: Zoo) -> Undo:
        tree = zoo.tree(kind)
        if not tree:
            raise RuntimeError("it does not run")
        chosen = tree if whole else [_one_of(tree[1:], zoo)]

        def send(number: signal.Signals) -> None:
            for process in chosen:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

        send(signal.SIGSTOP)
        return lambda: send(signal.SIGCONT)

    return stop


def _cut_the_cable(zoo: Zoo) -> Undo:
    zoo.cable.cut()
    return zoo.cable.mend


def _set_a_clock(ahead_seconds: int) -> Callable[[Zoo], Undo]:
    def set_it(zoo: Zoo) -> Undo:
        clock = zoo.clock
        if clock is None:
            raise RuntimeError("there is no C compiler")
        clock.set(ahead_seconds)
        return lambda: clock.set(0)

    return set_it


# -- the chain --------------------------------------------------------------------------------


def _reorganise(zoo: Zoo) -> Undo:
    """Replace the newest blocks; mints come again, reveals are forgotten by half."""
    chain = zoo.world.chain
    head, depth = chain.block_number(), zoo.rng.randint(1, DEEPEST_REORG)
    depth = min(depth, head - 1)
    keep = []
    for place in range(depth):
        block = chain.rpc("eth_getBlockByNumber", hex(head - depth + 1 + place), True)
        keep += [
            (sent["hash"], place)
            for sent in block["transactions"]
            if not _is_keeper(sent["from"]) or zoo.rng.random() < 0.5
        ]
    chain.reorg(depth, keep)
    return None


def _forget_transactions(zoo: Zoo) -> Undo:
    """Drop the keeper's pending transactions, as soon as there are some."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        pending = zoo.world.chain.rpc("txpool_content")["pending"]
        of_keeper = [by_nonce for sender, by_nonce in pending.items() if _is_keeper(sender)]
        for by_nonce in of_keeper:
            for sent in by_nonce.values():
                zoo.world.chain.drop_transaction(sent["hash"])
        if of_keeper:
            return None
        time.sleep(0.05)
    raise RuntimeError("there was none of ours")


def _is_keeper(sender: str) -> bool:
    return sender.lower() == KEEPER.address.lower()


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


_KILL, _END, _CRASH = signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT

TRICKS: Final = (
    Trick("kill -9 of a worker's process", "machines", _signal("worker", _KILL)),
    Trick("kill -9 of a whole worker", "machines", _signal("worker", _KILL, whole=True)),
    Trick("restart of a worker", "machines", _signal("worker", _END, whole=True)),
    Trick("a worker's process freezes", "machines", _freeze("worker"), _FROZEN_SECONDS),
    Trick("a whole worker freezes", "machines", _freeze("worker", whole=True), _FROZEN_SECONDS),
    Trick("the network to a worker ends", "machines", _cut_the_cable, _FROZEN_SECONDS),
    Trick("a worker's clock runs ahead", "machines", _set_a_clock(90), 10.0),
    Trick("a worker's clock is behind", "machines", _set_a_clock(-90), 10.0),
    Trick("kill -9 of a web process", "machines", _signal("web", _KILL)),
    Trick("kill -9 of the whole web server", "machines", _signal("web", _KILL, whole=True)),
    Trick("restart of the web server", "machines", _signal("web", _END, whole=True)),
    Trick("the web server freezes", "machines", _freeze("web", whole=True), 6.0),
    Trick("kill -9 of a database session", "machines", _signal("database", _KILL), 3.0),
    Trick("kill -9 of the database", "machines", _signal("database", _KILL, whole=True), 3.0),
    Trick("the database crashes", "machines", _signal("database", _CRASH, whole=True), 3.0),
    Trick("restart of the database", "machines", _signal("database", signal.SIGINT, whole=True)),
    Trick("the database freezes", "machines", _freeze("database", whole=True), 6.0),
    Trick("kill -9 of the node", "chain", _signal("node", _KILL, whole=True), 5.0),
    Trick("restart of the node", "chain", _signal("node", _END, whole=True), 5.0),
    Trick("the node freezes", "chain", _freeze("node", whole=True), 6.0),
    Trick("a reorg", "chain", _reorganise),
    Trick("the pool forgets", "chain", _forget_transactions),
    Trick("fees spike", "chain", _raise_fees, 8.0),
    Trick("the node lags", "node", _the_node(FaultyRpc.lag), 6.0),
    Trick("the node splits batches", "node", _split_batches, 8.0),
    Trick("the node narrows ranges", "node", _the_node(FaultyRpc.limit_logs, 2, 503), 8.0),
    Trick("the node refuses logs", "node", _the_node(FaultyRpc.limit_logs, 0, 429), 8.0),
    Trick("the node hides logs", "node", _the_node(FaultyRpc.hide_logs), 8.0),
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
    Trick(
        "a vendor's clock runs ahead",
        "vendors",
        _vendor("replicate", clock_ahead_seconds=90.0),
        10.0,
    ),
    Trick(
        "a vendor's clock is behind",
        "vendors",
        _vendor("replicate", clock_ahead_seconds=-90.0),
        10.0,
    ),
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
