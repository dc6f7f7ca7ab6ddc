"""What only the vendors and the chain can tell of the settings, asked by one command."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from glisk.cid import compute_cid
from glisk.console.management.commands.check_setup import NOT_WELL
from reveals.keeper import keeper_state
from sandbox.accounts import ACCOUNTS, KEEPER
from sandbox.chain import DemoChain
from sandbox.cog.emulator import CogEmulator
from sandbox.faulty_rpc import FaultyRpc
from sandbox.gateway.emulator import GatewayEmulator
from sandbox.node import free_port
from sandbox.pinata.emulator import PinataEmulator
from sandbox.pinata.store import ContentStore
from sandbox.replicate.emulator import ReplicateEmulator
from sandbox.testing import anvil_binary, deployed_chain, running_node
from tokens.factories import TokenFactory
from tokens.states import TokenStatus

__all__ = ["anvil_binary"]

pytestmark = pytest.mark.django_db


class World:
    def __init__(self, chain: DemoChain) -> None:
        self.chain = chain
        self.store = ContentStore()
        self.replicate = ReplicateEmulator().start()
        self.pinata = PinataEmulator(store=self.store).start()
        self.gateway = GatewayEmulator(store=self.store).start()

    def stop(self) -> None:
        for emulator in (self.replicate, self.pinata, self.gateway):
            emulator.stop()
        self.store.close()


@pytest.fixture(scope="module")
def _world(anvil_binary: Path) -> Iterator[World]:
    with running_node() as node:
        world = World(deployed_chain(node))
        yield world
        world.stop()


@pytest.fixture
def world(_world: World, settings: Settings) -> World:
    settings.RPC_URL = _world.chain.rpc_url
    settings.GLISK_NFT_CONTRACT_ADDRESS = _world.chain.contract.address
    settings.KEEPER_PRIVATE_KEY = KEEPER.private_key
    settings.REPLICATE_BASE_URL = _world.replicate.url
    settings.PINATA_API_URL = _world.pinata.url
    settings.PINATA_GATEWAY = [_world.gateway.url]
    settings.PUBLIC_BASE_URL = "https://glisk.example"
    settings.HTTP_READ_TIMEOUT_SECONDS = settings.RPC_TIMEOUT_SECONDS = 3
    return _world


def ask() -> tuple[int, dict[str, str]]:
    """Return the exit status and each answer by its subject: `ok: …` or `WRONG: …`."""
    said, status = io.StringIO(), 0
    try:
        call_command("check_setup", stdout=said)
    except CommandError as error:
        status = error.returncode
    lines = [line.split(maxsplit=2) for line in said.getvalue().splitlines()]
    return status, {subject: f"{verdict}: {text}" for verdict, subject, text in lines}


def test_where_all_is_well_it_says_what_it_saw(world: World, settings: Settings) -> None:
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


def test_what_is_not_set_up_is_no_fault(world: World, settings: Settings) -> None:
    settings.KEEPER_PRIVATE_KEY = settings.PUBLIC_BASE_URL = ""
    status, said = ask()
    assert status == 0
    assert said["keeper"].startswith("ok: not on this machine")
    assert said["callbacks"].startswith("ok: not set up")
    assert said["selfhosted"] == "ok: not set up"
    assert said["gateway"].startswith("ok: nothing is stored yet")


def test_the_keepers_key_is_not_needed_and_not_wanted(world: World, settings: Settings) -> None:
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


def test_without_a_signing_key_the_chain_alone_tells_of_mints(
    world: World, settings: Settings
) -> None:
    assert ask()[1]["webhook"].startswith("ok: signed deliveries are taken")
    settings.ALCHEMY_WEBHOOK_SECRETS = []
    status, said = ask()
    assert (status, said["webhook"]) == (0, "ok: not set up: mints are read from the chain only")


def _another_chain(settings: Settings) -> None:
    settings.CHAIN_ID = 8453


def _no_role(settings: Settings) -> None:
    settings.KEEPER_PRIVATE_KEY = ACCOUNTS[6].private_key


def _wrong_token(settings: Settings) -> None:
    settings.REPLICATE_API_TOKEN = "r8_of_somebody_else_00000000000000000000"


def _another_key(settings: Settings) -> None:
    settings.REPLICATE_WEBHOOK_SECRETS = ["whsec_AAAAAAAAAAAAAAAAAAAAAAAA"]


def _revoked_pin_key(settings: Settings) -> None:
    settings.PINATA_JWT = "of-somebody-else-0000000000"


def _no_gateway(settings: Settings) -> None:
    settings.PINATA_GATEWAY = [f"http://127.0.0.1:{free_port()}"]
    TokenFactory.create(status=TokenStatus.READY)


@pytest.mark.parametrize(
    ("spoil", "subject", "word"),
    [
        (_another_chain, "chain", "check RPC_URL"),
        (_no_role, "keeper", "KEEPER_ROLE"),
        (_wrong_token, "replicate", "Check the key"),
        (_another_key, "callbacks", "REPLICATE_WEBHOOK_SECRET"),
        (_revoked_pin_key, "pinata", "Check the key"),
        (_no_gateway, "gateway", "did not reach"),
    ],
)
def test_what_is_wrong_is_named_and_hides_no_other(
    world: World, settings: Settings, spoil: Callable[[Settings], None], subject: str, word: str
) -> None:
    spoil(settings)
    status, said = ask()
    assert status == NOT_WELL
    assert said[subject].startswith("WRONG: ")
    assert word in said[subject]
    assert len(said) == 12
    for secret in (*settings.REPLICATE_WEBHOOK_SECRETS, settings.REPLICATE_API_TOKEN):
        assert secret not in "".join(said.values())


@pytest.mark.parametrize("status", [403, 405, 500])
def test_a_listing_that_is_refused_is_named(world: World, status: int) -> None:
    """The token is accepted, and single predictions can be read."""
    world.replicate.set_faults(
        server_error_rate=1.0, server_error_status=status, scope="^GET .*/predictions$"
    )
    try:
        ended, said = ask()
    finally:
        world.replicate.reset()
    assert ended == NOT_WELL
    assert said["listing"].startswith("WRONG: ")
    assert str(status) in said["listing"]
    assert said["replicate"].startswith("ok: ")


def test_a_node_that_gives_no_logs_is_named(world: World, settings: Settings) -> None:
    with FaultyRpc(world.chain.rpc_url) as proxy:
        settings.RPC_URL = proxy.url
        proxy.lose_replies(9, "eth_getLogs")
        ended, said = ask()
    assert ended == NOT_WELL
    assert said["logs"].startswith("WRONG: ")
    assert "eth_getLogs" in said["logs"]
    assert said["chain"].startswith("ok: ")


def test_a_key_that_may_pin_all_but_files_is_named(world: World) -> None:
    """Scopes are given by endpoint, and testAuthentication does not ask for any."""
    world.pinata.set_faults(
        server_error_rate=1.0, server_error_status=403, scope="^POST /pinning/pinFileToIPFS$"
    )
    try:
        ended, said = ask()
    finally:
        world.pinata.reset()
    assert ended == NOT_WELL
    assert said["pinata"].startswith("WRONG: ")


def test_an_image_server_that_does_not_serve_is_named(world: World, settings: Settings) -> None:
    with CogEmulator() as cog:
        cog.set_faults(ready=False)
        settings.SELFHOSTED_IMAGE_API_URL = cog.url
        status, said = ask()
    assert status == NOT_WELL
    assert "the server is STARTING" in said["selfhosted"]
