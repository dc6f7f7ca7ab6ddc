"""Linking Farcaster accounts against registries on a real node and an emulated name server."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from eth_abi import encode
from eth_account import Account
from pytest_django.fixtures import Settings
from web3.contract.contract import Contract

from authors.models import Author, SpentMessage
from authors.purging import purge_expired
from authors.signatures.eip4361 import SignInMessage, read_sign_in_message
from authors.signatures.messages import hash_of
from authors.tests.farcaster_emulator import FarcasterNamesEmulator
from authors.tests.wallets import (
    AUTHOR,
    OTHER,
    WalletChain,
    detail,
    high_s_twin,
    offered,
    post,
    sign,
    wrapped,
)
from glisk.clients.farcaster import ID_REGISTRY, KEY_REGISTRY
from sandbox.tests.nodes import running_node

PATH = "/api/authors/farcaster/link"
LEGACY = f"Link Farcaster account for wallet: {AUTHOR.address}"
CUSTODY = Account.from_key("0x" + "33" * 32)
AUTH = Account.from_key("0x" + "44" * 32)
FID = 7
REFUSED = (
    "Farcaster signature verification failed. Please try linking your Farcaster account again."
)
SITES = ["glisk.example", "www.glisk.example", "*.preview.glisk.example", "localhost:3000"]
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("farcaster")]


@pytest.fixture(scope="module")
def names() -> Iterator[FarcasterNamesEmulator]:
    with FarcasterNamesEmulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def key_registry(shared_wallet_chain: WalletChain) -> Contract:
    """Account 7: its custody address in one registry, its auth address in the other."""
    chain = shared_wallet_chain
    chain.transact(chain.install("FarcasterIdRegistry", ID_REGISTRY), "set", CUSTODY.address, FID)
    keys = chain.install("FarcasterKeyRegistry", KEY_REGISTRY)
    chain.transact(keys, "set", FID, encode(["address"], [AUTH.address]), 1, 2)
    return keys


@pytest.fixture
def farcaster(
    key_registry: Contract,
    names: FarcasterNamesEmulator,
    wallet_chain: WalletChain,
    settings: Settings,
) -> FarcasterNamesEmulator:
    names.reset(state=True)
    names.names[FID] = "the-real-name"
    settings.OPTIMISM_RPC_URL = wallet_chain.rpc_url
    settings.FARCASTER_NAME_URL = names.url
    return names


def sign_in(**changes: Any) -> SignInMessage:
    message = SignInMessage(
        domain="localhost:3000",
        address=CUSTODY.address,
        statement="Farcaster Auth",
        uri="http://localhost:3000/profile",
        chain_id=10,
        nonce="k3Jd0aQv5Tz8",
        issued_at=timezone.now().replace(microsecond=0),
        resources=(f"farcaster://fid/{FID}",),
    )
    return replace(message, **changes)


def link(
    client: Client,
    message: SignInMessage | str | None = None,
    *,
    signer: Any = CUSTODY,
    **changes: Any,
) -> Any:
    """Post the frontend's request, with both messages signed."""
    text = message if isinstance(message, str) else (message or sign_in()).text
    body: dict[str, Any] = {
        "wallet_address": AUTHOR.address,
        "wallet_message": LEGACY,
        "farcaster_message": text,
        "farcaster_signature": sign(signer, text),
        "fid": FID,
        "username": "somebody-famous",
    } | changes
    body.setdefault("wallet_signature", sign(AUTHOR, body["wallet_message"]))
    return post(client, PATH, body)


def refusal(answer: Any, status: int = 400) -> str:
    assert not Author.objects.exists()
    return detail(answer, status)


class TestLinking:
    def test_the_owner_links_under_the_name_that_farcaster_knows(self, client: Client) -> None:
        for signer in (CUSTODY, AUTH):
            answer = link(client, sign_in(address=signer.address), signer=signer)
            assert answer.status_code == 200, answer.content
            assert answer.json() == {"success": True, "username": "the-real-name", "fid": FID}
            assert Author.objects.get().farcaster_handle == "the-real-name"

    def test_each_of_our_sites_may_ask_in_each_form_that_clients_use(
        self, client: Client, settings: Settings
    ) -> None:
        settings.SIGN_IN_DOMAIN = SITES
        forms: list[dict[str, Any]] = [
            {"domain": "glisk.example"},
            {"domain": "WWW.glisk.example"},
            {"domain": "a1.preview.glisk.example"},
            {"statement": "Farcaster Connect"},
            {"resources": (f"farcaster://fid/{FID}/",)},
            {"resources": ("https://glisk.example/terms", f"farcaster://fid/{FID}")},
            {"address": CUSTODY.address.lower()},
        ]
        for domain in ("preview.glisk.example", "a.glisk.example", "evilpreview.glisk.example"):
            told = refusal(link(client, sign_in(domain=domain)))
            assert told.startswith(REFUSED)
            assert all(allowed in told for allowed in SITES)
        for changes in forms:
            assert link(client, sign_in(**changes)).status_code == 200, changes

    def test_an_account_of_a_smart_wallet(
        self, client: Client, key_registry: Contract, wallet_chain: WalletChain
    ) -> None:
        undeployed, calldata = wallet_chain.undeployed_wallet(CUSTODY)
        wallet_chain.transact(key_registry, "set", FID, encode(["address"], [undeployed]), 1, 2)
        message = sign_in(address=undeployed)
        signature = wrapped(wallet_chain.factory.address, calldata, sign(CUSTODY, message.text))
        assert link(client, message, farcaster_signature=signature).status_code == 200

    def test_a_shared_nonce_ties_the_sign_in_to_the_wallet(
        self, client: Client, settings: Settings
    ) -> None:
        settings.LEGACY_SIGNATURES = False
        assert "not the one" in refusal(link(client))
        other = offered(client, AUTHOR.address, "link_farcaster", hash_of("8"))
        assert "another value" in refusal(link(client, wallet_message=other))
        wanted = offered(client, AUTHOR.address, "link_farcaster", hash_of(str(FID)))
        assert "another nonce" in refusal(link(client, wallet_message=wanted))
        message = sign_in(nonce=read_sign_in_message(wanted).nonce)
        assert link(client, message, wallet_message=wanted).status_code == 200
        again = link(client, message, wallet_message=wanted)
        assert again.json()["detail"].startswith("Wallet signature verification failed.")


class TestAttacks:
    def test_whoever_does_not_own_the_account_does_not_link_it(
        self, client: Client, key_registry: Contract, wallet_chain: WalletChain
    ) -> None:
        """Signer and address of the message fit; the account is somebody else's."""
        answer = link(client, sign_in(resources=("farcaster://fid/8",)), fid=8)
        assert refusal(answer) == (
            f"Validation failed: {CUSTODY.address} does not own the Farcaster account 8."
        )
        thrown_away = sign_in(address=OTHER.address)
        assert "does not own" in refusal(link(client, thrown_away, signer=OTHER))
        # Removed keys, and keys that sign posts for an application.
        key = encode(["address"], [OTHER.address])
        for state, key_type in ((0, 2), (2, 2), (1, 1), (1, 0)):
            wallet_chain.transact(key_registry, "set", FID, key, state, key_type)
            assert "does not own" in refusal(link(client, thrown_away, signer=OTHER))

    def test_only_the_wallet_links(self, client: Client) -> None:
        for changes in (
            {"wallet_signature": sign(OTHER, LEGACY)},
            {"wallet_signature": "0x00"},
            {"wallet_signature": "nonsense"},
            {"wallet_message": f"Link X account for wallet: {AUTHOR.address}"},
            {"wallet_message": LEGACY + "\n"},
            {"wallet_address": OTHER.address},
        ):
            told = refusal(link(client, **changes))
            assert told.startswith("Wallet signature verification failed.")

    def test_a_sign_in_that_its_address_did_not_sign(self, client: Client) -> None:
        for forge in (
            lambda text: sign(OTHER, text),
            lambda text: sign(CUSTODY, text + " "),
            lambda text: high_s_twin(sign(CUSTODY, text)),
            lambda text: "0x" + "00" * 65,
            lambda text: "0xabc",
            lambda text: "0x" + "ab" * 300,
        ):
            message = sign_in()
            answer = link(client, message, farcaster_signature=forge(message.text))
            assert refusal(answer).startswith(REFUSED)

    def test_a_sign_in_for_anything_else(
        self, client: Client, farcaster: FarcasterNamesEmulator
    ) -> None:
        now = timezone.now()
        wrong: dict[str, list[Any]] = {
            "domain": ["evil.example", "localhost:3000.evil.example", "localhost"],
            "chain_id": [1, 8453],
            "statement": ["Log in to a game", ""],
            "nonce": ["short"],
            "resources": [
                (),
                ("farcaster://fid/8",),
                ("farcaster://fid/07",),
                ("farcaster://fid/7", "farcaster://fid/8"),
                ("farcaster://fid/7", "farcaster://fid/7"),
                ("https://evil.example/farcaster://fid/7",),
            ],
            "issued_at": [now - HOUR, now + HOUR],
            "expires_at": [now - MINUTE],
            "not_before": [now + HOUR],
        }
        for name, values in wrong.items():
            for value in values:
                answer = link(client, sign_in(**{name: value}))
                assert refusal(answer).startswith(REFUSED), (name, value)
        for text in ("", "hello", "\x00", "x" * 3000):
            refusal(link(client, text))
        for fid in (0, -1, 2**63, 2**256, "x", None, 1.5, True):
            refusal(link(client, fid=fid))
        assert farcaster.calls == []

    def test_a_sign_in_works_once(self, client: Client, settings: Settings) -> None:
        """Whoever saw it cannot link the account to the own wallet."""
        message = sign_in()
        assert link(client, message).status_code == 200
        stolen = f"Link Farcaster account for wallet: {OTHER.address}"
        answer = link(
            client,
            message,
            wallet_address=OTHER.address,
            wallet_message=stolen,
            wallet_signature=sign(OTHER, stolen),
        )
        assert answer.status_code == 400
        assert "used already" in answer.json()["detail"]
        assert not Author.objects.by_wallet(OTHER.address).exists()
        # It is remembered as long as it could be used.
        usable_until: datetime = message.issued_at + timedelta(seconds=settings.SIGN_IN_SECONDS)
        assert SpentMessage.objects.get().expires_at > usable_until
        assert purge_expired() == 0
        SpentMessage.objects.update(expires_at=timezone.now())
        assert purge_expired() == 1


class TestFailures:
    def test_it_is_not_set_up(self, client: Client, settings: Settings) -> None:
        settings.OPTIMISM_RPC_URL = ""
        assert "not set up" in refusal(link(client), 503)

    def test_an_account_without_a_name_or_with_one_that_is_none(
        self, client: Client, farcaster: FarcasterNamesEmulator
    ) -> None:
        for name in ("", "Not A Name", "<b>", "x" * 40):
            farcaster.names[FID] = name
            assert refusal(link(client)).startswith("Validation failed: ")
        farcaster.names.clear()
        assert refusal(link(client)) == "Validation failed: the Farcaster account 7 has no name."

    def test_the_name_server_fails(
        self, client: Client, farcaster: FarcasterNamesEmulator, settings: Settings
    ) -> None:
        message = sign_in()
        for kind in ("throttle", "server_error", "drop_before"):
            farcaster.plan_fault(kind)
            assert "cannot be asked" in refusal(link(client, message), 503)
        settings.LINK_TIMEOUT_SECONDS = 0.3
        farcaster.set_faults(latency_seconds=(1, 1))
        assert "cannot be asked" in refusal(link(client, message), 503)
        settings.LINK_TIMEOUT_SECONDS = 5.0
        farcaster.set_faults(latency_seconds=(0, 0))
        assert link(client, message).status_code == 200  # nothing was used up

    def test_the_name_server_answers_otherwise(
        self, client: Client, farcaster: FarcasterNamesEmulator
    ) -> None:
        for answer, status in (
            (b"no json", 503),
            ({}, 503),
            ({"transfer": {"username": 7, "to": FID}}, 503),
            ({"transfer": {"username": "moved-on", "to": 8}}, 400),
            ({"transfer": {"username": "given-up", "to": 0}}, 400),
        ):
            farcaster.script("/transfers/current", answer)
            refusal(link(client), status)

    def test_the_node_does_not_answer_or_is_none_of_optimism(
        self, client: Client, settings: Settings
    ) -> None:
        settings.OPTIMISM_RPC_URL = "http://127.0.0.1:9"
        assert "cannot be asked" in refusal(link(client), 503)
        with running_node() as node:  # same contracts, same owner, wrong chain
            other = WalletChain(node.rpc_url)
            ids = other.install("FarcasterIdRegistry", ID_REGISTRY)
            other.transact(ids, "set", CUSTODY.address, FID)
            other.install("FarcasterKeyRegistry", KEY_REGISTRY)
            settings.OPTIMISM_RPC_URL = node.rpc_url
            assert "cannot be asked" in refusal(link(client), 503)
