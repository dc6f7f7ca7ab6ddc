"""`reveal_tokens` waits for the worker; where none lives, it does the worker's part itself."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from glisk.engine.broker import Listener
from glisk.engine.drain import _lock_number
from glisk.models import WorkerHeartbeat
from glisk.tests.waiting import eventually
from reveals.models import RevealRequest
from reveals.tests.drains import Drains, check_books, wait_for_the_kill
from reveals.tests.stage import Scene, transactions
from sandbox.accounts import KEEPER
from tokens.states import TokenStatus
from tokens.tests.stage import status

pytestmark = [pytest.mark.process, pytest.mark.django_db(transaction=True)]


def reveal(*arguments: str) -> tuple[int, str]:
    """Return the exit status, and what was written."""
    out = io.StringIO()
    try:
        call_command("reveal_tokens", *arguments, "--yes", stdout=out)
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    return 0, out.getvalue()


def test_without_a_worker_the_command_reveals(scene: Scene, quick: None) -> None:
    wanted, other = scene.mint(2)
    code, page = reveal("--token-ids", str(wanted.pk))
    (row,) = transactions()
    assert code == 0, page
    assert "No living worker reveals: this command does it now" in page
    assert f"token {wanted.pk}: revealed by {row.tx_hash} in block {row.block_number}" in page
    check_books(scene, [wanted], batches=1)
    assert status(other) == TokenStatus.READY  # nobody asked for it
    assert not WorkerHeartbeat.objects.exists()
    assert not RevealRequest.objects.exists()


def test_what_the_gate_refuses_stays_refused(scene: Scene, quick: None) -> None:
    good, unpinned = scene.mint(2)
    scene.store.delete(str(unpinned.image_cid))
    code, page = reveal("--token-ids", f"{good.pk}-{unpinned.pk}")
    assert code == 2
    assert f"token {unpinned.pk}: skipped: gateway" in page
    check_books(scene, [good], batches=1)


def test_a_held_slot_is_waited_for(scene: Scene, quick: None) -> None:
    """By a worker that has not shown itself lately: two would sign the same nonce."""
    (token,) = scene.mint()
    holder = Listener(())
    key = (_lock_number("glisk:slot:reveal"), 0)
    holder.session.execute("SELECT pg_advisory_lock(%s, %s)", key)
    try:
        code, page = reveal("--all-ready", "--timeout", "1")
    finally:
        holder.close()
    assert code == 1
    assert f"token {token.pk}: not revealed yet: it is being checked" in page
    assert transactions() == []
    assert reveal("--all-ready")[0] == 0


def test_a_living_worker_does_it_and_the_command_waits(
    drains: Drains, scene: Scene, settings: Settings
) -> None:
    """Its tokens alone: the worker's batch waits an hour for company."""
    settings.KEEPER_ADDRESS, settings.KEEPER_PRIVATE_KEY = KEEPER.address, ""
    drains.start(scene, settings={"BATCH_REVEAL_WAIT_SECONDS": 3600})
    eventually(WorkerHeartbeat.objects.filter(stage="reveal").exists, what="a worker")
    (token,) = scene.mint()
    code, page = reveal("--all-ready")
    assert code == 0, page
    assert "this command does it" not in page
    assert f"token {token.pk}: revealed by {transactions()[0].tx_hash}" in page


@pytest.mark.parametrize("kill_at", ["reserved", "signed", "broadcast", "before the final commit"])
def test_a_killed_command_leaves_all_to_the_next(
    drains: Drains, scene: Scene, tmp_path: Path, kill_at: str
) -> None:
    tokens = scene.mint(2)
    command, output = ["reveal_tokens", "--all-ready", "--yes"], str(tmp_path / "first")
    victim = drains.start(scene, command=command, output=output, kill_at=kill_at)
    wait_for_the_kill(victim, kill_at)
    assert not any(status(token) == TokenStatus.REVEALED for token in tokens)
    drains.start(scene)
    eventually(lambda: scene.revealed_once(tokens), what="the reveal by a worker")
    check_books(scene, tokens, batches=1)


def test_what_a_killed_worker_left_is_finished(drains: Drains, scene: Scene, quick: None) -> None:
    tokens = scene.mint(2)
    victim = drains.start(scene, kill_at="stored")
    wait_for_the_kill(victim, "stored")
    WorkerHeartbeat.objects.all().delete()  # a quarter of a minute later
    assert scene.nonce() == 0
    code, page = reveal("--token-ids", *(str(token.pk) for token in tokens))
    assert code == 0, page
    check_books(scene, tokens, batches=1)


def test_an_interrupt_ends_it_in_order(drains: Drains, scene: Scene, tmp_path: Path) -> None:
    """The transaction is out, and no block comes."""
    tokens, output = scene.mint(2), tmp_path / "said"
    scene.chain.set_automine(False)
    command = ["reveal_tokens", "--all-ready", "--yes"]
    pid = drains.start(scene, command=command, output=str(output))
    eventually(lambda: output.exists() and "transaction 0x" in output.read_text(), what="a hash")
    os.kill(pid, signal.SIGINT)
    eventually(lambda: output.read_text().endswith("status 1\n"), what="the end")
    (row,) = transactions()
    page = output.read_text()
    assert "Interrupted: what is signed is stored" in page
    for token in tokens:
        waits = "not revealed yet: it is not mined yet"
        assert f"token {token.pk}: {waits} (transaction {row.tx_hash})" in page
    scene.chain.set_automine(True)
    scene.chain.mine()
    code, page = reveal("--token-ids", *(str(token.pk) for token in tokens))
    assert code == 0, page
    check_books(scene, tokens, batches=1)
