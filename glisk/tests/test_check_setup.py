"""What only the vendors and the chain can tell of the settings, asked by one command."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from glisk.cid import compute_cid
from glisk.console.management.commands.check_setup import NOT_WELL
from glisk.tests.clients.kms_emulator import KmsEmulator
from reveals.keeper import keeper_state
from sandbox.accounts import ACCOUNTS, KEEPER
from sandbox.chain import DemoChain
from sandbox.cog.emulator import CogEmulator
from sandbox.faulty_rpc import FaultyRpc
from sandbox.node import free_port
from tokens.states import TokenStatus
from tokens.tests import conftest as of_tokens
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Vendors

pytestmark = pytest.mark.django_db


_vendors, vendors = of_tokens._vendors, of_tokens.vendors


@pytest.fixture
def world(deployed: DemoChain, vendors: Vendors, settings: Settings) -> Vendors:
    settings.RPC_URL = deployed.rpc_url
    settings.GLISK_NFT_CONTRACT_ADDRESS = deployed.contract.address
    settings.KEEPER_PRIVATE_KEY = KEEPER.private_key
    settings.PUBLIC_BASE_URL = "https://glisk.example"
    settings.HTTP_READ_TIMEOUT_SECONDS = settings.RPC_TIMEOUT_SECONDS = 3
    return vendors


def ask() -> tuple[int, dict[str, str]]:
    """Return the exit status and each answer by its subject: `ok: …` or `WRONG: …`."""
    said, status = io.StringIO(), 0
    try:
        call_command("check_setup", stdout=said)
    except CommandError as error:
        status = error.returncode
    lines = [line.split(maxsplit=2) for line in said.getvalue().splitlines()]
    return status, {subject: f"{verdict}: {text}" for verdict, subject, text in lines}


def test_where_all_is_well_it_says_what_it_saw(world: Vendors, settings: Settings) -> None:
    text = b"{}"
    cid = compute_cid(text, version=0)
    world.store.write(cid, text)
    TokenFactory.create(status=TokenStatus.READY, metadata_cid=cid)
    with CogEmulator() as cog:
        settings.SELFHOSTED_IMAGE_API_URL = cog.url
        status, said = ask()
    assert status == 0
    assert said["chain"].startswith("ok: LOCAL, block ")
    assert said["keeper"].startswith(f"ok: {KEEPER.address} may reveal, and pays for about ")
    assert said["replicate"] == "ok: the token is accepted"
    assert said["callbacks"].startswith("ok: Replicate signs what it sends to https://glisk.exam")
    assert said["selfhosted"] == "ok: the server says READY"
    assert said["logs"] == "ok: the node gives them"
    assert said["listing"].startswith("ok: predictions can be listed")
    assert said["pinata"] == "ok: the key may pin files"
    assert not world.pinata.pins
    assert said["gateway"] == f"ok: serves {cid}"
    assert keeper_state().status == "ok"  # and the health page shows it


def test_what_is_not_set_up_is_no_fault(world: Vendors, settings: Settings) -> None:
    settings.KEEPER_PRIVATE_KEY = settings.PUBLIC_BASE_URL = ""
    status, said = ask()
    assert status == 0
    assert said["keeper"].startswith("ok: not on this machine")
    assert said["callbacks"].startswith("ok: not set up")
    assert said["selfhosted"] == "ok: not set up"
    assert said["gateway"].startswith("ok: nothing is stored yet")


def test_the_keepers_key_is_not_needed_and_not_wanted(world: Vendors, settings: Settings) -> None:
    """Only the worker may read it: its address is enough, and a key in reach is told."""
    settings.KEEPER_PRIVATE_KEY = ""
    settings.KEEPER_ADDRESS = KEEPER.address
    settings.KEEPER_KEY_IN_REACH = False
    status, said = ask()
    assert status == 0
    assert said["keeper"].startswith(f"ok: {KEEPER.address} may reveal")
    assert said["keeper_key"] == "ok: only the worker can read it"
    settings.KEEPER_KEY_IN_REACH = True
    assert ask()[1]["keeper_key"].startswith("ok: this process could read it, too")
    settings.IS_REAL_NETWORK = True
    status, said = ask()
    assert status == NOT_WELL
    assert said["keeper_key"].startswith("WRONG: This process could read the keeper's private key")
    assert "KEEPER_PRIVATE_KEY_FILE" in said["keeper_key"]


def test_a_key_in_kms_is_asked_for_its_address(
    world: Vendors, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.KEEPER_PRIVATE_KEY = settings.KEEPER_ADDRESS = ""
    with KmsEmulator() as kms:
        for name, value in kms.environment.items():
            monkeypatch.setenv(name, value)
        settings.KEEPER_KMS_KEY_ID = kms.create_key(KEEPER.private_key)
        told = f"WRONG: The address of the KMS key is {KEEPER.address}: set KEEPER_ADDRESS to it."
        assert ask()[1]["keeper_key"] == told
        settings.KEEPER_ADDRESS = KEEPER.address
        told = f"ok: AWS KMS has it, and its address is {KEEPER.address}"
        assert ask()[1]["keeper_key"] == told
        kms.refuse(400, "AccessDeniedException", "not authorized to perform: kms:GetPublicKey")
        assert "kms:GetPublicKey" in ask()[1]["keeper_key"]


def _wrong(said: dict[str, str], words: dict[str, str], settings: Settings) -> None:
    for subject, word in words.items():
        assert said[subject].startswith("WRONG: ")
        assert word in said[subject]
    assert len(said) == 13
    for secret in (*settings.REPLICATE_WEBHOOK_SECRETS, settings.REPLICATE_API_TOKEN):
        assert secret not in "".join(said.values())


def test_wrong_settings_are_named_and_hide_no_other(world: Vendors, settings: Settings) -> None:
    settings.CHAIN_ID = 8453
    settings.REPLICATE_API_TOKEN = "r8_of_somebody_else_00000000000000000000"
    settings.PINATA_JWT = "of-somebody-else-0000000000"
    settings.PINATA_GATEWAY = [f"http://127.0.0.1:{free_port()}"]
    world.replicate.set_faults(clock_ahead_seconds=-120)
    TokenFactory.create(status=TokenStatus.READY)
    status, said = ask()
    assert status == NOT_WELL
    words = {
        "clocks": "Replicate's clock is 12",
        "chain": "check RPC_URL",
        "pinata": "Create a key",
        "gateway": "did not reach",
    }
    _wrong(said, {**words, "replicate": "Set a valid REPLICATE_API_TOKEN"}, settings)
    assert said["keeper_key"].startswith("ok: ")


def test_what_a_key_may_not_or_a_server_does_not_is_named(
    world: Vendors, settings: Settings
) -> None:
    settings.KEEPER_PRIVATE_KEY = ACCOUNTS[6].private_key
    settings.REPLICATE_WEBHOOK_SECRETS = ["whsec_AAAAAAAAAAAAAAAAAAAAAAAA"]
    # The token is accepted, and single predictions can be read; Pinata's scopes are given by
    # endpoint, and testAuthentication does not ask for any.
    for vendor, refusal, scope in (
        (world.replicate, 405, "^GET .*/predictions$"),
        (world.pinata, 403, "^POST /pinning/pinFileToIPFS$"),
    ):
        vendor.set_faults(server_error_rate=1.0, server_error_status=refusal, scope=scope)
    with FaultyRpc(settings.RPC_URL) as proxy, CogEmulator() as cog:
        settings.RPC_URL = proxy.url
        proxy.lose_replies(9, "eth_getLogs")
        cog.set_faults(ready=False)
        settings.SELFHOSTED_IMAGE_API_URL = cog.url
        status, said = ask()
    assert status == NOT_WELL
    words = {
        "logs": "eth_getLogs",
        "keeper": "KEEPER_ROLE",
        "callbacks": "REPLICATE_WEBHOOK_SECRET",
        "listing": "May the token of REPLICATE_API_TOKEN list predictions?",
        "pinata": "403",
        "selfhosted": "the server is STARTING",
    }
    _wrong(said, words, settings)
    for subject in ("chain", "replicate", "gateway"):
        assert said[subject].startswith("ok: ")


def test_it_tells_what_check_deploy_finds(world: Vendors, settings: Settings) -> None:
    settings.MISNAMED_VARIABLES = {"WORKER_BATCHSIZE": "WORKER_BATCH_SIZE"}
    status, said = ask()
    assert status == NOT_WELL
    assert said["settings"].startswith("WRONG: WORKER_BATCHSIZE is not known; did you mean WORKER_")
    settings.MISNAMED_VARIABLES = {}
    assert ask()[1]["settings"] == "ok: fit together"
