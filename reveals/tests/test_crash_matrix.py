"""kill -9 of the drain's process at every boundary of a reveal's phases, on a real chain.

Whatever was under way: after a restart each token is revealed exactly once, no nonce is left out,
none has a second transaction, and the rows tell what happened.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from django.conf import settings as django_settings
from pytest_django import DjangoDbBlocker

from glisk.tests.database import database_url
from glisk.tests.waiting import eventually
from reveals.models import RevealBatch, RevealBatchToken
from reveals.tests.drain_process import POINTS
from reveals.tests.stage import Scene, transactions
from sandbox.accounts import KEEPER
from tokens.models import Token, TokenTransition

pytestmark = [pytest.mark.process, pytest.mark.django_db(transaction=True)]

IN_FLIGHT = 4


class Drains:
    """Starts reveal drains in processes of their own, and sees them die."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reveals.tests.drain_process"],
            cwd=django_settings.BASE_DIR,
            env={
                **os.environ,
                "DATABASE_URL": database_url(),
                "DJANGO_SETTINGS_MODULE": "glisk.tests.settings",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pids: list[int] = []

    def start(self, scene: Scene, **order: Any) -> int:
        assert self.process.stdin and self.process.stdout
        order["settings"] = {
            "RPC_URL": scene.chain.rpc_url,
            "GLISK_NFT_CONTRACT_ADDRESS": scene.chain.contract.address,
            "KEEPER_PRIVATE_KEY": KEEPER.private_key,
            "PINATA_GATEWAY": [scene.gateway.url],
            "REVEAL_MAX_IN_FLIGHT": IN_FLIGHT,
            **order.get("settings", {}),
        }
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self.pids.append(int(self.process.stdout.readline()))
        return self.pids[-1]

    def end(self) -> None:
        for pid in self.pids:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGTERM)
        eventually(lambda: not any(map(psutil.pid_exists, self.pids)), what="the end of the drains")
        self.pids = []

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()


def wait_for_the_kill(victim: int, kill_at: str) -> None:
    eventually(lambda: not psutil.pid_exists(victim), what=f"the kill at '{kill_at}'")


@pytest.fixture(scope="module")
def _drains(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Drains]:
    with django_db_blocker.unblock():
        drains = Drains()
    yield drains
    drains.close()


@pytest.fixture
def drains(_drains: Drains) -> Iterator[Drains]:
    yield _drains
    _drains.end()


def check_books(scene: Scene, tokens: list[Token], *, batches: int) -> None:
    """Compare every row with the chain: one mined transaction for each nonce, and no other."""
    assert scene.revealed_once(tokens)
    on_chain = scene.chain.reveal_transactions()
    rows = transactions()
    assert scene.nonce() == batches == len(on_chain)
    assert sorted(RevealBatch.objects.values_list("nonce", flat=True)) == list(range(batches))
    confirmed = {row.nonce: row for row in rows if row.status == "confirmed"}
    assert sorted(row.tx_hash for row in confirmed.values()) == sorted(t.tx_hash for t in on_chain)
    assert {row.status for row in rows} <= {"confirmed", "replaced"}
    blocks = {reveal.tx_hash: reveal.block_number for reveal in on_chain}
    assert {row.tx_hash: row.block_number for row in confirmed.values()} == blocks
    assert all(batch.status == "confirmed" for batch in RevealBatch.objects.all())
    assert not RevealBatchToken.objects.filter(is_open=True).exists()
    moves = TokenTransition.objects.filter(to_status="revealed")
    told = {move.token_id: move.detail["tx_hash"] for move in moves}
    assert Counter(move.token_id for move in moves) == Counter(t.token_id for t in tokens)
    assert told == {i: reveal.tx_hash for reveal in on_chain for i in reveal.token_ids}


@pytest.mark.parametrize("kill_at", list(POINTS))
def test_one_in_flight(drains: Drains, scene: Scene, kill_at: str) -> None:
    tokens = scene.mint(2)
    victim = drains.start(scene, kill_at=kill_at)
    wait_for_the_kill(victim, kill_at)
    stored = [row.tx_hash for row in transactions()]
    drains.start(scene)
    eventually(lambda: scene.revealed_once(tokens), what="the reveal")
    check_books(scene, tokens, batches=1)
    # What was stored before the kill is what was mined: nothing is signed anew.
    assert stored in ([], [row.tx_hash for row in transactions()])
    assert bool(stored) == (list(POINTS).index(kill_at) >= list(POINTS).index("stored"))


@pytest.mark.parametrize("kill_at", list(POINTS))
def test_several_in_flight(drains: Drains, scene: Scene, kill_at: str) -> None:
    """The process dies at the third of them, or at the third that is mined."""
    one_each = {"BATCH_REVEAL_MAX_TOKENS": 1}
    tokens = scene.mint(IN_FLIGHT + 1)
    scene.chain.set_automine(False)
    mined_first = list(POINTS).index(kill_at) >= list(POINTS).index("mined")
    nth = 1 if kill_at == "mined" else 3
    victim = drains.start(scene, kill_at=kill_at, nth=nth, settings=one_each)
    if mined_first:
        eventually(lambda: len(scene.pool()) == IN_FLIGHT, what="a full pool")
        scene.chain.mine()
    wait_for_the_kill(victim, kill_at)
    stored = {row.tx_hash for row in transactions()}
    drains.start(scene, settings=one_each)
    scene.chain.set_automine(True)
    scene.chain.mine()
    eventually(lambda: scene.revealed_once(tokens), what="the reveals")
    check_books(scene, tokens, batches=len(tokens))
    assert stored <= {row.tx_hash for row in transactions() if row.status == "confirmed"}


def test_killed_again_and_again(drains: Drains, scene: Scene) -> None:
    """At every boundary in turn, with the next one started at once."""
    one_each = {"BATCH_REVEAL_MAX_TOKENS": 1}
    tokens = scene.mint(2 * len(POINTS))
    for kill_at in POINTS:
        victim = drains.start(scene, kill_at=kill_at, settings=one_each)
        wait_for_the_kill(victim, kill_at)
    drains.start(scene, settings=one_each)
    eventually(lambda: scene.revealed_once(tokens), what="the reveals")
    check_books(scene, tokens, batches=len(tokens))
