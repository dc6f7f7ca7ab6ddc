"""`recover_after_restore`: what it refuses, and what it says is left (the drill: sandbox/tests)."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from authors.tests.factories import AuthorFactory
from glisk.clock import database_now
from glisk.models import WorkerHeartbeat
from sandbox.accounts import KEEPER
from sandbox.chain import DemoChain
from tokens.models import ImageGenerationJob
from tokens.models.job import SampleStatus
from tokens.pipeline.samples import request_sample
from tokens.tests import conftest as of_tokens
from tokens.tests.stage import Vendors

_vendors, vendors = of_tokens._vendors, of_tokens.vendors
pytestmark = pytest.mark.django_db


def recover(since: str = "2026-01-01T00:00Z") -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("recover_after_restore", "--since", since, stdout=out, no_color=True)
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    return 0, out.getvalue()


@pytest.mark.parametrize("since", ["yesterday", "2026-01-01T00:00", "2026-13-01T00:00Z"])
def test_a_time_that_is_none_is_refused(since: str) -> None:
    status, page = recover(since)
    assert (status, ImageGenerationJob.objects.count()) == (1, 0)
    assert "is no time with its zone" in page


def test_the_future_and_living_workers_are_refused() -> None:
    assert recover("2999-01-01T00:00Z") == (
        1,
        "2999-01-01T00:00Z is in the future. Nothing was done.",
    )
    now = database_now()
    WorkerHeartbeat.objects.create(
        owner="h:1:2:x", host="h", main_pid=1, pid=2, stage="reveal", started_at=now, beat_at=now
    )
    status, page = recover()
    assert status == 1
    assert page.startswith("Workers live (reveal): stop them first")


def test_a_transaction_that_nobody_here_knows_is_waited_for(
    deployed: DemoChain, vendors: Vendors, settings: Settings
) -> None:
    settings.RPC_URL = deployed.rpc_url
    settings.GLISK_NFT_CONTRACT_ADDRESS = deployed.contract.address
    settings.KEEPER_PRIVATE_KEY, settings.KEEPER_ADDRESS = "", KEEPER.address
    author = AuthorFactory.create()
    waiting = request_sample(author=author, prompt="A fox in the snow", actor="me")
    assert recover()[0] == 0
    waiting.refresh_from_db()  # it may have been paid for since the backup: never once more
    assert (waiting.status, waiting.cost_usd) == (SampleStatus.FAILED, None)
    deployed.set_automine(False)
    try:
        deployed.reveal(KEEPER.private_key, [1], ["ipfs://x"])
        status, page = recover()
    finally:
        deployed.rpc("anvil_dropAllTransactions")
        deployed.set_automine(True)
    assert status == 2
    assert "Transactions of the keeper that wait to be mined: 1." in page
    assert "Left to do: the keeper's transactions." in page
