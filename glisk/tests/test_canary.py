"""The canary's checks are the conformance suite: of the emulators always, of real vendors at will.

The real ones: `pytest -m live glisk/tests/test_canary.py`, with two variables (see the last test).
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db.models import F
from pytest_django import Settings

from authors.models import Author
from authors.tests.factories import AuthorFactory
from glisk.clients.replicate import ReplicateClient
from glisk.clients.signers.local import KeySigner
from glisk.console.canary import checks, first_mint
from glisk.console.canary.checks import Answer, Canary, sample_to_use
from glisk.console.management.commands import canary as command
from glisk.errors import TransientError
from glisk.tests.database import database_url
from reveals.keeper import Keeper
from reveals.tests.stage import transactions
from sandbox.accounts import KEEPER
from sandbox.chain import DemoChain
from sandbox.faulty_rpc import FaultyRpc
from tokens.models import PromptSample, Token
from tokens.pipeline import samples
from tokens.pipeline.image_vendors import spent_today
from tokens.tests import conftest as of_tokens
from tokens.tests.stage import CREATE, Vendors

pytestmark = pytest.mark.django_db

_vendors, vendors = of_tokens._vendors, of_tokens.vendors


@pytest.fixture
def world(
    deployed: DemoChain, vendors: Vendors, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Vendors]:
    settings.RPC_URL = deployed.rpc_url
    settings.GLISK_NFT_CONTRACT_ADDRESS = deployed.contract.address
    settings.KEEPER_PRIVATE_KEY, settings.KEEPER_ADDRESS = "", KEEPER.address
    settings.HTTP_READ_TIMEOUT_SECONDS = settings.RPC_TIMEOUT_SECONDS = 3
    AuthorFactory.create(wallet_address=settings.GLISK_DEFAULT_AUTHOR_WALLET)
    monkeypatch.setattr(samples, "_HERE_SECONDS", 0.05)
    monkeypatch.setattr(checks, "_GATEWAY_SECONDS", 0.5)
    monkeypatch.setattr(checks, "_GATEWAY_AGAIN_SECONDS", 0.1)
    yield vendors
    assert deployed.rpc("eth_getTransactionCount", KEEPER.address, "latest") == "0x0"


def run() -> dict[str, Answer]:
    """Return the answers by vendor and subject."""
    return {f"{each.vendor} {each.subject}": each for each in Canary(sample_to_use()).run()}


def wrong(answers: dict[str, Answer]) -> dict[str, str]:
    return {name: each.text for name, each in answers.items() if each.is_well is False}


def not_tried(answers: dict[str, Answer]) -> set[str]:
    return {name for name, each in answers.items() if each.is_well is None}


def test_the_emulators_conform(world: Vendors, deployed: DemoChain) -> None:
    block = deployed.block_number()
    answers = run()
    assert not wrong(answers)
    assert not not_tried(answers)
    sample = PromptSample.objects.get()
    assert [each.id for each in world.predictions] == [sample.external_id]
    assert world.paid == 1
    assert spent_today() == sample.cost_usd
    assert len(world.pinata.pins) == 2
    assert "nothing was sent" in answers["chain reveal"].text
    assert (deployed.block_number(), transactions(), Token.objects.count()) == (block, [], 0)


def test_a_second_run_pays_nothing(world: Vendors) -> None:
    run()
    assert "nothing new was paid" in run()["replicate image"].text
    assert world.paid == 1


def test_an_image_that_ages_while_others_are_asked_is_not_paid_for_anew_unasked(
    world: Vendors,
) -> None:
    run()
    again = Canary(sample_to_use())
    PromptSample.objects.update(completed_at=F("completed_at") - timedelta(hours=2))
    assert "nothing new was paid" in {a.subject: a.text for a in again.run()}["image"]
    assert world.paid == 1


def test_a_sample_whose_call_is_still_to_be_made_is_no_known_image(
    world: Vendors, settings: Settings
) -> None:
    author = Author.objects.get(wallet_address=settings.GLISK_DEFAULT_AUTHOR_WALLET)
    asked_for = samples.request_sample(author=author, prompt="A fox in the snow", actor="me")
    assert sample_to_use() is None  # so the command asks
    assert "paid 0.003" in run()["replicate image"].text
    asked_for.refresh_from_db()
    assert (asked_for.is_open, world.paid) == (False, 1)


@pytest.mark.parametrize("how", ["reply", "process"])
def test_a_lost_reply_is_found_again_and_not_paid_twice(
    world: Vendors, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "reply":
        world.replicate.set_faults(drop_after_rate=1.0, scope=CREATE)
    else:
        create = ReplicateClient.create_prediction

        def die(*given: Any, **options: Any) -> None:
            create(*given, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(ReplicateClient, "create_prediction", die)
        with pytest.raises(KeyboardInterrupt):
            run()
        PromptSample.objects.update(busy_until=None)  # a minute later
    assert not wrong(run())
    assert world.paid == world.creations() == 1


def test_what_is_wrong_is_named_and_hides_no_other(world: Vendors, settings: Settings) -> None:
    world.pinata.set_faults(wrong_cid_rate=1.0)
    settings.REVEAL_MAX_GAS_PRICE_GWEI = 0.000001
    with FaultyRpc(settings.RPC_URL) as proxy:
        settings.RPC_URL = proxy.url
        proxy.lose_replies(9, "eth_getLogs")
        answers = run()
    said = wrong(answers)
    assert set(said) == {
        *("chain logs", "chain keeper", "pinata pin image", "pinata pin metadata", "chain reveal")
    }
    assert "no token would be revealed" in said["pinata pin image"]
    assert "REVEAL_MAX_GAS_PRICE_GWEI" in said["chain reveal"]
    assert not_tried(answers) == {"gateway read image", "gateway read metadata"}


def refuse_account(world: Vendors, settings: Settings) -> None:
    world.replicate.set_faults(account_refusal="insufficient_credit")


def reach_the_cap(world: Vendors, settings: Settings) -> None:
    settings.DAILY_SPEND_CAP_USD = 0.001


def flag_the_prompt(world: Vendors, settings: Settings) -> None:
    world.replicate.set_faults(nsfw_rate=1.0)


@pytest.mark.parametrize(
    ("mishap", "said", "paid"),
    [
        (refuse_account, "Nothing was paid.", 0),
        (reach_the_cap, "The daily cap", 0),
        (flag_the_prompt, "NSFW", 1),
    ],
)
def test_without_an_image_nothing_is_pinned(
    world: Vendors,
    settings: Settings,
    mishap: Callable[[Vendors, Settings], None],
    said: str,
    paid: int,
) -> None:
    mishap(world, settings)
    answers = run()
    assert said in wrong(answers)["replicate image"]
    assert {"here files", "pinata pin image", "gateway read image"} < not_tried(answers)
    assert answers["chain reveal"].is_well  # the form of a URI is enough for it
    assert not world.pinata.pins
    assert world.paid == paid


def test_a_gateway_that_serves_other_bytes_is_named(world: Vendors) -> None:
    world.gateway.set_faults(wrong_content_rate=1.0)
    said = wrong(run())
    assert set(said) == {"gateway read image", "gateway read metadata"}
    assert "are not that file" in said["gateway read image"]


def test_the_command_asks_before_it_pays_and_sends_nothing_on_mainnet(
    world: Vendors, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*arguments: str) -> tuple[int, str]:
        out = io.StringIO()
        try:
            call_command(command.Command(stdout=out), *arguments, no_color=True)
        except CommandError as error:
            return error.returncode, out.getvalue() + str(error)
        return 0, out.getvalue()

    assert ask()[0] == 1
    assert "One image will be paid for, about 0.003 US dollars. Add --yes" in ask()[1]
    settings.CHAIN_ID = 8453
    key = tmp_path / "key"
    key.write_text("11" * 32)
    status, page = ask("--yes", "--send", "--account-key-file", str(key))
    assert (status, world.paid) == (1, 0)
    assert "this is Base mainnet" in page
    settings.CHAIN_ID = 31337
    assert "--send needs --account-key-file" in ask("--yes", "--send")[1]
    status, page = ask("--yes")
    assert status == 0, page
    assert page.count("\nok ") == len(Canary(None).checks)
    world.pinata.set_faults(key_revoked=True)
    status, page = ask()  # a known image needs no question
    assert status == command.NOT_WELL
    assert "is used again" in page
    assert "WRONG  pinata     pin image" in page
    assert "Create a key" in page
    assert settings.REPLICATE_API_TOKEN not in page


def test_a_node_that_is_away_for_a_moment_ends_no_wait(
    world: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_mint, "_LOOK_SECONDS", 0.0)
    journey = first_mint.Journey(Keeper(KeySigner(KEEPER.private_key)), ends=time.monotonic() + 60)
    answers: list[Any] = ["the receipt", None, TransientError("away", vendor="chain")]

    def look() -> Any:
        answer = answers.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert journey.wait(look, "0x12 is not mined") == "the receipt"
    late = first_mint.Journey(journey.payer, ends=0.0)
    answers.append(TransientError("away", vendor="chain"))
    with pytest.raises(first_mint.MintFailed, match="0x12 is not mined"):
        late.wait(look, "0x12 is not mined")


@pytest.mark.live
def test_the_real_vendors_conform() -> None:
    """GLISK_LIVE_ENV_FILE: a .env file with real keys; GLISK_LIVE_PAY=yes: one image is paid for.

    The ledger is the tests' database, so the file's DATABASE_URL is not used.
    """
    file = os.environ.get("GLISK_LIVE_ENV_FILE", "")
    if not Path(file).is_file():
        pytest.skip("GLISK_LIVE_ENV_FILE names no file with real keys")
    if os.environ.get("GLISK_LIVE_PAY") != "yes":
        pytest.skip("one image would be paid for: GLISK_LIVE_PAY=yes agrees to that")
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {**kept, "GLISK_ENV_FILE": file, "DATABASE_URL": database_url()}
    for arguments in (["migrate", "--verbosity", "0"], ["canary", "--yes"]):
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=django_settings.BASE_DIR,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        sys.stdout.write(done.stdout)  # pytest -s shows it
        assert done.returncode == 0, done.stdout + done.stderr
