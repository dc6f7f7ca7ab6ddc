"""kill -9 of the drain's process at every boundary of a reveal's phases, on a real chain.

Whatever was under way: after a restart each token is revealed exactly once, no nonce is left out,
none has a second transaction, and the rows tell what happened.
"""

from __future__ import annotations

from typing import Any

import pytest

from glisk.tests.clients.kms_emulator import KmsEmulator
from glisk.tests.waiting import eventually
from reveals.tests.drain_process import POINTS
from reveals.tests.drains import IN_FLIGHT, Drains, check_books, wait_for_the_kill
from reveals.tests.stage import Scene, transactions
from sandbox.accounts import KEEPER

pytestmark = [pytest.mark.process, pytest.mark.django_db(transaction=True)]


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


@pytest.mark.parametrize(("signer", "number"), [("key", 13), ("kms", 50)])
def test_killed_again_and_again(drains: Drains, scene: Scene, signer: str, number: int) -> None:
    """At every boundary in turn, with the next one started at once."""
    tokens = scene.mint(number)
    with KmsEmulator() as kms:
        order: dict[str, Any] = {"settings": {"BATCH_REVEAL_MAX_TOKENS": -(-number // 13)}}
        if signer == "kms":
            order["environment"] = kms.environment
            order["settings"] |= {
                "KEEPER_PRIVATE_KEY": "",
                "KEEPER_KMS_KEY_ID": kms.create_key(KEEPER.private_key),
                "KEEPER_ADDRESS": KEEPER.address,
            }
        for kill_at in POINTS:
            victim = drains.start(scene, kill_at=kill_at, **order)
            wait_for_the_kill(victim, kill_at)
        drains.start(scene, **order)
        eventually(lambda: scene.revealed_once(tokens), what="the reveals")
        check_books(scene, tokens, batches=13)
        # What died in memory was signed anew, and has other bytes if KMS signs.
        signed, stored = len(kms.calls), len(transactions())
        assert signed > stored if signer == "kms" else signed == 0
        drains.end()
