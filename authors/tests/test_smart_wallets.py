"""Signatures of smart wallets, deployed and not yet deployed, checked on a real node."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from aiohttp import web
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
from sandbox.faulty_rpc import FaultyRpc
from sandbox.http import Emulator, Faults, json_response

PATH = "/api/authors/prompt"
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

    def test_contracts_that_are_no_wallets_accept_nothing(self, wallet_chain: WalletChain) -> None:
        for answer in ODD:
            wallet = str(wallet_chain.deploy("OddWallet", ODD.index(answer)).address)
            for signature in (sign(AUTHOR, MESSAGE), "0x", "0x" + "ab" * 200):
                assert not accepted(wallet_chain, wallet, signature)


class TestSignedOnChain:
    """A Safe keeps what its owners approved; the signature is then empty, or of no weight."""

    def test_the_contract_decides_however_short_the_signature_is(
        self, wallet_chain: WalletChain
    ) -> None:
        for signature in ("0x", "0x00", "0x" + "5a" * 20, "0x" + "ff" * 31):
            wallet = wallet_chain.deploy("ApprovingWallet")
            assert not accepted(wallet_chain, wallet.address, signature)
            digest = eip191_digest(MESSAGE)
            wallet_chain.transact(wallet, "approve", digest, bytes.fromhex(signature[2:]))
            assert accepted(wallet_chain, wallet.address, signature)
            assert not accepted(wallet_chain, wallet.address, signature + "01")
            assert not accepted(wallet_chain, wallet.address, signature, "Something else")

    def test_a_wallet_without_a_contract_approves_nothing(self, wallet_chain: WalletChain) -> None:
        for signature in ("0x", "0x00", "0x" + "ff" * 31):
            undeployed, _ = wallet_chain.undeployed_wallet(AUTHOR)
            for wallet in (AUTHOR.address, undeployed, IDENTITY_PRECOMPILE, "0x" + "00" * 20):
                assert not accepted(wallet_chain, wallet, signature)


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

    def test_a_factory_that_makes_nothing_proves_nothing(self, wallet_chain: WalletChain) -> None:
        """It reverts, burns all gas, or says whatever an attacker likes."""
        for answer in ODD:
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

    def test_a_wrapping_that_cannot_be_read_is_refused(self, wallet_chain: WalletChain) -> None:
        for body in ("", "00" * 31, "ff" * 96, "00" * 64 + "ff" * 32):
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
        signature = sign(AUTHOR, f"Update GLISK prompt for wallet: {wallet}")
        if wrap:
            signature = wrapped(wallet_chain.factory.address, calldata, signature)
        body = prompt_body(wallet, signature)
        answer = post(client, PATH, body)
        assert answer.status_code == 200, answer.content
        assert Author.objects.by_wallet(wallet).get().prompt_text == "A fox"


class StubNode(Emulator[Faults]):
    """A node that answers each method with one text."""

    name = "node"
    faults_class = Faults

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.code: Any = {"result": "0xfe"}
        self.verdict: Any = {"result": "0x01"}
        self.asked: list[str] = []

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/", self._any)]

    async def _any(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.asked.append(asked["method"])
        answer = self.code if asked["method"] == "eth_getCode" else self.verdict
        if answer is HANGS_UP:
            response = web.StreamResponse()
            response.content_length = 2
            await response.prepare(request)
            assert request.transport is not None
            request.transport.close()
            return response
        if isinstance(answer, Raw):
            return json_response(answer.payload, answer.status)
        return json_response({"jsonrpc": "2.0", "id": asked["id"], **answer})


class Raw(NamedTuple):
    """What is no JSON-RPC answer."""

    payload: Any
    status: int = 200


HANGS_UP = object()


@pytest.fixture(scope="module")
def running_stub() -> Iterator[StubNode]:
    with StubNode() as node:
        yield node


@pytest.fixture
def stub_node(running_stub: StubNode, settings: Settings) -> StubNode:
    running_stub.reset(state=True)
    running_stub.code, running_stub.verdict = {"result": "0xfe"}, {"result": "0x01"}
    running_stub.asked.clear()
    settings.RPC_URL = running_stub.url
    return running_stub


def refused(code: int, message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


# What nodes and the providers in front of them say of themselves.
NODE_FAULTS = [
    Raw({"error": "no"}, 500),
    Raw({}, 429),
    Raw([]),
    Raw("nonsense"),
    {"result": None},
    {"result": 7},
    refused(429, "compute units per second"),
    refused(-32005, "daily request count exceeded"),
    refused(-32603, "Internal error"),
    refused(-32011, "no backend is currently healthy to serve traffic"),
    refused(-32002, "request timed out"),
    refused(-32000, "header not found"),
    refused(-32000, "missing trie node 1a2b (path ) <nil>"),
    refused(-32000, "execution aborted (timeout = 5s)"),
    refused(-32000, "block range extends beyond current head block"),
    refused(-32601, "the method eth_call does not exist/is not available"),
    refused(-38013, "block gas limit is lower than the call's"),
]
# What the validator may come to, since the wallet's own code ran in it.
WALLET_FAULTS = [
    {"result": "0x00"},
    refused(3, "execution reverted", data="0x"),
    refused(-32000, "execution reverted"),
    refused(-32000, "out of gas"),
    refused(-32003, "EVM error: OutOfGas"),
    refused(-32000, "out of gas: gas required exceeds: 10000000"),
    refused(-32015, "VM execution error.", data="Bad instruction"),
]


def prompt_body(wallet: str, signature: str) -> dict[str, str]:
    message = f"Update GLISK prompt for wallet: {wallet}"
    return {
        "wallet_address": wallet,
        "prompt_text": "A fox",
        "message": message,
        "signature": signature,
    }


# Whatever the length: a wallet of one owner has signatures of 65 bytes, too.
SIZES = (0, 65, 200)


def refusal_of(client: Client, size: int, status: int) -> str:
    told = post(client, PATH, prompt_body(AUTHOR.address, "0x" + "ab" * size))
    assert told.status_code == status, told.content
    assert not Author.objects.exists()
    return str(told.json()["detail"])


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["code", "verdict"])
def test_a_fault_of_the_node_is_not_the_wallets(
    client: Client, stub_node: StubNode, method: str
) -> None:
    for number, answer in enumerate(NODE_FAULTS):
        setattr(stub_node, method, answer)
        assert "chain does not answer" in refusal_of(client, SIZES[number % 3], 503), answer


@pytest.mark.django_db
def test_what_the_wallets_code_does_is_not_the_nodes_fault(
    client: Client, stub_node: StubNode
) -> None:
    for number, answer in enumerate(WALLET_FAULTS):
        stub_node.verdict = answer
        assert "correct wallet" in refusal_of(client, SIZES[number % 3], 400), answer


@pytest.mark.django_db
def test_no_contract_is_run_where_there_is_none(client: Client, stub_node: StubNode) -> None:
    stub_node.code = {"result": "0x"}
    for size in SIZES:
        refusal_of(client, size, 400)
    assert stub_node.asked == ["eth_getCode"] * 3


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["eth_getCode", "eth_call"])
@pytest.mark.parametrize("refusal", [(-32603, "Internal error"), 503])
def test_a_node_that_comes_to_itself_is_asked_again(
    client: Client, wallet_chain: WalletChain, settings: Settings, method: str, refusal: Any
) -> None:
    wallet = wallet_chain.deployed_wallet(AUTHOR)
    body = prompt_body(wallet, sign(AUTHOR, f"Update GLISK prompt for wallet: {wallet}"))
    with FaultyRpc(wallet_chain.rpc_url) as proxy:
        settings.RPC_URL = proxy.url
        proxy.refuse_calls(method, refusal)
        assert post(client, PATH, body).status_code == 503
        proxy.calm()
        assert post(client, PATH, body).status_code == 200


@pytest.mark.django_db
def test_an_outage_of_the_chain_is_told_as_such(client: Client, settings: Settings) -> None:
    settings.HTTP_CONNECT_TIMEOUT_SECONDS, settings.RPC_TIMEOUT_SECONDS = 1.0, 0.3
    with StubNode() as node:
        node.set_faults(latency_seconds=(2, 2))
        settings.RPC_URL = node.url
        for signature in ("0x" + "ab" * 200, "0x"):
            body = prompt_body(AUTHOR.address, signature)
            answer = post(client, PATH, body)
            assert answer.status_code == 503
            assert "chain does not answer" in answer.json()["detail"]
        # What looks like a plain wallet's is refused as usual, or accepted.
        wrong, own = sign(OTHER, body["message"]), sign(AUTHOR, body["message"])
        answer = post(client, PATH, body | {"signature": wrong})
        assert answer.status_code == 400
        assert not Author.objects.exists()
        assert post(client, PATH, body | {"signature": own}).status_code == 200


@pytest.mark.django_db
def test_a_contract_that_nobody_runs_is_no_wrong_wallet(
    client: Client, stub_node: StubNode
) -> None:
    """The node hangs up when it is known already that the wallet is a contract."""
    stub_node.verdict = HANGS_UP
    answer = post(client, PATH, prompt_body(AUTHOR.address, "0x" + "ab" * 65))
    assert answer.status_code == 503
