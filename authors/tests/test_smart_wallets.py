"""Signatures of smart wallets, deployed and not yet deployed, checked on a real node."""

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from authors.models import Author
from authors.signatures.wallet_signature import (
    InvalidSignature,
    eip191_digest,
    verify_signature,
)
from authors.tests.wallets import (
    AUTHOR,
    OTHER,
    WalletChain,
    high_s_twin,
    post,
    sign,
    sign_digest,
    wrapped,
)
from glisk.clients.smart_wallets import client_at
from glisk.errors import ProviderError
from sandbox.http import Emulator, Request, Response, json_response

MESSAGE = "Something that a wallet signs"
ODD = ("Reverts", "Loops", "SaysTrue", "SaysNothing", "SaysTooMuch", "AcceptsDryRuns")
IDENTITY_PRECOMPILE = "0x0000000000000000000000000000000000000004"


def accepted(chain: WalletChain, wallet: str, signature: str, message: str = MESSAGE) -> bool:
    client = client_at(chain.rpc_url)
    try:
        verify_signature(wallet=wallet, message=message, signature=signature, chain=client)
    except InvalidSignature:
        return False
    return True


class TestDeployed:
    def test_its_owners_signature_is_accepted(self, wallet_chain: WalletChain) -> None:
        wallet = wallet_chain.deployed_wallet(AUTHOR)
        assert accepted(wallet_chain, wallet, sign(AUTHOR, MESSAGE))

    def test_anothers_is_not(self, wallet_chain: WalletChain) -> None:
        wallet = wallet_chain.deployed_wallet(AUTHOR)
        assert not accepted(wallet_chain, wallet, sign(OTHER, MESSAGE))
        assert not accepted(wallet_chain, wallet, sign(AUTHOR, "Something else"))
        assert not accepted(wallet_chain, wallet, high_s_twin(sign(AUTHOR, MESSAGE)))
        assert not accepted(wallet_chain, wallet, "0x" + "00" * 65)
        assert not accepted(wallet_chain, wallet, "0x01")

    def test_it_may_still_wrap_its_signature(self, wallet_chain: WalletChain) -> None:
        wallet, calldata = wallet_chain.undeployed_wallet(AUTHOR)
        signature = wrapped(wallet_chain.factory.address, calldata, sign(AUTHOR, MESSAGE))
        wallet_chain.chain.wait(
            wallet_chain.chain.send_raw(
                1, to=wallet_chain.factory.address, data=calldata, gas=1_000_000
            )
        )
        assert accepted(wallet_chain, wallet, signature)
        assert accepted(wallet_chain, wallet, sign(AUTHOR, MESSAGE))

    @pytest.mark.parametrize("answer", ODD)
    def test_contracts_that_are_no_wallets_accept_nothing(
        self, wallet_chain: WalletChain, answer: str
    ) -> None:
        wallet = str(wallet_chain.deploy("OddWallet", ODD.index(answer)).address)
        assert not accepted(wallet_chain, wallet, sign(AUTHOR, MESSAGE))
        assert not accepted(wallet_chain, wallet, "0x" + "ab" * 200)


class TestUndeployed:
    def test_its_owners_signature_is_accepted_and_nothing_is_deployed(
        self, wallet_chain: WalletChain
    ) -> None:
        wallet, calldata = wallet_chain.undeployed_wallet(AUTHOR)
        signature = wrapped(wallet_chain.factory.address, calldata, sign(AUTHOR, MESSAGE))
        assert accepted(wallet_chain, wallet, signature)
        assert wallet_chain.chain.rpc("eth_getCode", wallet, "latest") == "0x"

    def test_anothers_is_not(self, wallet_chain: WalletChain) -> None:
        factory = wallet_chain.factory.address
        wallet, calldata = wallet_chain.undeployed_wallet(AUTHOR)
        assert not accepted(wallet_chain, wallet, wrapped(factory, calldata, sign(OTHER, MESSAGE)))
        assert not accepted(
            wallet_chain, wallet, wrapped(factory, calldata, sign(AUTHOR, "Something else"))
        )

    def test_a_factory_that_makes_another_wallet_proves_nothing(
        self, wallet_chain: WalletChain
    ) -> None:
        """The attacker's own wallet, made by a real factory, under the victim's address."""
        factory = wallet_chain.factory.address
        victim, _ = wallet_chain.undeployed_wallet(AUTHOR)
        _, calldata = wallet_chain.undeployed_wallet(OTHER)
        signature = wrapped(factory, calldata, sign(OTHER, MESSAGE))
        assert not accepted(wallet_chain, victim, signature)
        assert not accepted(wallet_chain, AUTHOR.address, signature)

    @pytest.mark.parametrize("answer", ODD)
    def test_a_factory_that_makes_nothing_proves_nothing(
        self, wallet_chain: WalletChain, answer: str
    ) -> None:
        """It reverts, burns all gas, or says whatever an attacker likes."""
        factory = str(wallet_chain.deploy("OddWallet", ODD.index(answer)).address)
        victim, calldata = wallet_chain.undeployed_wallet(AUTHOR)
        for wallet, signer in ((victim, AUTHOR), (victim, OTHER), (AUTHOR.address, OTHER)):
            signature = wrapped(factory, calldata, sign(signer, MESSAGE))
            assert not accepted(wallet_chain, wallet, signature)

    def test_a_wrapped_key_is_no_plain_wallets_signature(self, wallet_chain: WalletChain) -> None:
        own = sign(OTHER, MESSAGE)
        for target, calldata in ((OTHER.address, "0x"), (wallet_chain.factory.address, "0xdead")):
            assert not accepted(wallet_chain, AUTHOR.address, wrapped(target, calldata, own))

    def test_the_identity_precompile_is_no_wallet(self, wallet_chain: WalletChain) -> None:
        """It answers with its input, which begins with the very value that means yes."""
        own = sign(OTHER, MESSAGE)
        assert not accepted(wallet_chain, IDENTITY_PRECOMPILE, own)
        assert not accepted(wallet_chain, IDENTITY_PRECOMPILE, wrapped(OTHER.address, "0x", own))

    @pytest.mark.parametrize("body", ["", "00" * 31, "ff" * 96, "00" * 64 + "ff" * 32])
    def test_a_wrapping_that_cannot_be_read_is_refused(
        self, wallet_chain: WalletChain, body: str
    ) -> None:
        wallet, _ = wallet_chain.undeployed_wallet(AUTHOR)
        assert not accepted(wallet_chain, wallet, "0x" + body + "6492" * 16)

    def test_without_its_factory_it_is_refused(self, wallet_chain: WalletChain) -> None:
        wallet, _ = wallet_chain.undeployed_wallet(AUTHOR)
        assert not accepted(wallet_chain, wallet, sign(AUTHOR, MESSAGE))
        assert not accepted(wallet_chain, wallet, "0x" + "ab" * 200)


def test_a_plain_wallets_high_s_twin_is_not_saved_by_the_validator(
    wallet_chain: WalletChain,
) -> None:
    """The validator's own ecrecover would take it, wrapped or not."""
    twin = high_s_twin(sign(AUTHOR, MESSAGE))
    assert not accepted(wallet_chain, AUTHOR.address, twin)
    _, calldata = wallet_chain.undeployed_wallet(AUTHOR)  # a factory that does what it is asked
    assert not accepted(
        wallet_chain, AUTHOR.address, wrapped(wallet_chain.factory.address, calldata, twin)
    )


def test_a_raw_hash_signature_is_not_a_message_signature(wallet_chain: WalletChain) -> None:
    from eth_utils.crypto import keccak

    signature = "0x" + sign_digest(AUTHOR, keccak(text=MESSAGE)).hex()
    assert eip191_digest(MESSAGE) != keccak(text=MESSAGE)
    assert not accepted(wallet_chain, AUTHOR.address, signature)


@pytest.mark.django_db
def test_authors_with_smart_wallets_set_prompts(client: Client, wallet_chain: WalletChain) -> None:
    undeployed, calldata = wallet_chain.undeployed_wallet(AUTHOR)
    for wallet, wrap in ((wallet_chain.deployed_wallet(AUTHOR), False), (undeployed, True)):
        message = f"Update GLISK prompt for wallet: {wallet}"
        signature = sign(AUTHOR, message)
        if wrap:
            signature = wrapped(wallet_chain.factory.address, calldata, signature)
        body = {
            "wallet_address": wallet,
            "prompt_text": "A fox",
            "message": message,
            "signature": signature,
        }
        answer = post(client, "/api/authors/prompt", body)
        assert answer.status_code == 200, answer.content
        assert Author.objects.by_wallet(wallet).get().prompt_text == "A fox"


class BrokenNode(Emulator):
    """A node that answers every batch with one text."""

    name = "node"
    answer: Response = json_response([])

    def routes(self) -> list:
        return [("POST", "/", self._any)]

    def _any(self, request: Request) -> Response:
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        json_response({"error": "no"}, 500),
        json_response({}, 429, {"Retry-After": "1"}),
        json_response([]),
        json_response("nonsense"),
        json_response([{"id": 0, "result": None}, {"id": 1, "result": "0x01"}]),
        json_response([{"id": 0, "result": "0x"}]),
        json_response(
            [
                {"id": 0, "result": "0xfe"},
                {"id": 1, "error": {"code": 429, "message": "compute units per second"}},
            ]
        ),
    ],
)
def test_a_node_that_fails_says_neither_yes_nor_no(answer: Response) -> None:
    with BrokenNode() as node:
        node.answer = answer
        with pytest.raises(ProviderError):
            client_at(node.url).accepts(
                wallet=AUTHOR.address, digest=b"\0" * 32, signature=bytes.fromhex("6492" * 16)
            )


@pytest.mark.django_db
def test_an_outage_of_the_chain_is_told_as_such(client: Client, settings: Settings) -> None:
    settings.HTTP_CONNECT_TIMEOUT_SECONDS, settings.RPC_TIMEOUT_SECONDS = 1.0, 0.3
    body = {
        "wallet_address": AUTHOR.address,
        "prompt_text": "A fox",
        "message": f"Update GLISK prompt for wallet: {AUTHOR.address}",
        "signature": "0x" + "ab" * 200,
    }
    with BrokenNode() as node:
        node.set_faults(latency_seconds=(2, 2))
        settings.RPC_URL = node.url
        answer = post(client, "/api/authors/prompt", body)
        assert answer.status_code == 503
        assert "chain does not answer" in answer.json()["detail"]
        # What looks like a plain wallet's is refused as usual.
        answer = post(
            client, "/api/authors/prompt", body | {"signature": sign(OTHER, body["message"])}
        )
        assert answer.status_code == 400
    assert not Author.objects.exists()
