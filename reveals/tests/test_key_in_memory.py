"""Whose memory and environment holds the keeper's key: of one process, and of no web process."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from django.conf import settings as django_settings
from eth_account import Account
from pytest_django import Settings

from glisk.models import WorkerHeartbeat
from glisk.tests.database import database_url
from glisk.tests.waiting import eventually
from glisk.tests.web_server import WebServer, web
from reveals.tests.stage import Scene, transactions
from sandbox.chain import KEEPER_ROLE

__all__ = ["web"]  # a fixture

pytestmark = [pytest.mark.process, pytest.mark.django_db(transaction=True)]


def forms(key: str) -> list[bytes]:
    """Every form in which a process may have a private key."""
    return [bytes.fromhex(key), key.encode(), key.upper().encode(), bytes.fromhex(key)[::-1]]


def has_key(process: psutil.Process, key: str) -> bool:
    """Tell whether the key is in a process's environment or in any of its memory."""
    folder = Path(f"/proc/{process.pid}")
    if any(form in (folder / "environ").read_bytes() for form in forms(key)):
        return True
    areas = [line.split() for line in (folder / "maps").read_text().splitlines()]
    with (folder / "mem").open("rb", buffering=0) as memory:
        for place, rights, *_ in areas:
            start, end = (int(address, 16) for address in place.split("-"))
            if rights.startswith("rw") and any(f in read(memory, start, end) for f in forms(key)):
                return True
    return False


def read(memory: object, start: int, end: int) -> bytes:
    try:
        return os.pread(memory.fileno(), end - start, start)  # type: ignore[attr-defined]
    except OSError:  # unmapped meanwhile, or a device's
        return b""


@pytest.fixture
def keeper(scene: Scene) -> str:
    """A key that stands in no file of the repository; its address may reveal."""
    key = secrets.token_hex(32)
    address = Account.from_key(key).address
    scene.chain.wait(scene.chain.send(0, "grantRole", KEEPER_ROLE, address))
    scene.chain.set_balance(address, 10**18)
    return key


@pytest.fixture
def variables(scene: Scene, keeper: str, tmp_path: Path, settings: Settings) -> dict[str, str]:
    (tmp_path / "keeper").write_text(f"0x{keeper}\n")
    return {
        "DJANGO_SETTINGS_MODULE": "glisk.settings",
        "DATABASE_URL": database_url(),
        "KEEPER_PRIVATE_KEY": "",
        "KEEPER_PRIVATE_KEY_FILE": str(tmp_path / "keeper"),
        "RPC_URL": scene.chain.rpc_url,
        "GLISK_NFT_CONTRACT_ADDRESS": scene.chain.contract.address,
        "PINATA_GATEWAY": scene.gateway.url,
        "BATCH_REVEAL_WAIT_SECONDS": "0",
        "DRAIN_BUDGET_SECONDS": "20",
    }


@pytest.fixture
def cluster(variables: dict[str, str], tmp_path: Path) -> Iterator[psutil.Process]:
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "qcluster"],
            cwd=django_settings.BASE_DIR,
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
        )
    yield psutil.Process(process.pid)
    process.terminate()
    process.wait(60)
    sys.stdout.write((tmp_path / "worker.log").read_text())


def revealing() -> int | None:
    """The process of the reveal drain."""
    beats = WorkerHeartbeat.objects.filter(stage="reveal").order_by("-beat_at")
    return beats.values_list("pid", flat=True).first()


def test_one_process_knows_the_key_and_takes_it_along(
    scene: Scene,
    keeper: str,
    variables: dict[str, str],
    cluster: psutil.Process,
    web: Callable[..., WebServer],
) -> None:
    server = web(**variables)
    tokens = scene.mint(2)
    eventually(lambda: scene.revealed_once(tokens), what="the reveal")
    signer = psutil.Process(revealing())
    signer.suspend()  # its budget shall not end in between
    assert server.get("/health/keeper")[0] == server.get("/admin/login/")[0] == 200
    # No web process has it, though the file could be read there.
    for process in (psutil.Process(server.process.pid), *server.workers()):
        assert not has_key(process, keeper)
    # Of the worker's the one has it that has signed.
    tree = (cluster, *cluster.children(recursive=True))
    assert [process.pid for process in tree if has_key(process, keeper)] == [signer.pid]
    signer.resume()
    # When its drain has ended, it ends as well.
    eventually(lambda: revealing() != signer.pid, what="the next drain")
    eventually(lambda: not signer.is_running(), what="the end of the process")
    more = scene.mint(1)
    eventually(lambda: scene.revealed_once(more), what="a reveal by the next one")
    assert {row.keeper for row in transactions()} == {Account.from_key(keeper).address}
