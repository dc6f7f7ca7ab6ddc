"""Signatures of smart wallets, deployed and not yet deployed, checked on a real node."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from eth_utils.crypto import keccak
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
from glisk.tests.clients.scripted_server import ScriptedServer, Step, answer, hang_up, silence
from sandbox.faulty_rpc import FaultyRpc

PATH = "/api/authors/prompt"
MESSAGE = "Something that a wallet signs"
# Reverts, loops, says true, nothing or too much, accepts dry runs.
ODD_ANSWERS = 6
IDENTITY_PRECOMPILE = "0x0000000000000000000000000000000000000004"


def accepted(chain: WalletChain, wallet: str, signature: str, message: str = MESSAGE) -> bool:
    client = client_at(chain.rpc_url)
    try:
        verify_signature(wallet=wallet, message=message, signature=signature, chain=client)
    except InvalidSignature:
        return False
    return True


def test_a_deployed_wallet_takes_its_owners_signature_wrapped_or_not(
    wallet_chain: WalletChain,
) -> None:
    chain, factory = wallet_chain.chain, wallet_chain.factory.address
    wallet, calldata = wallet_chain.undeployed_wallet(AUTHOR)
    own = sign(AUTHOR, MESSAGE)
    chain.wait(chain.send_raw(1, to=factory, data=calldata, gas=1_000_000))
    assert accepted(wallet_chain, wallet, own)
    assert accepted(wallet_chain, wallet, wrapped(factory, calldata, own))
    for signature in (
        sign(OTHER, MESSAGE),
        sign(AUTHOR, "Something else"),
        high_s_twin(own),
        "0x" + "00" * 65,
        "0x01",
    ):
        assert not accepted(wallet_chain, wallet, signature)


def test_a_wallet_to_be_takes_its_owners_wrapped_signature_and_nothing_is_deployed(
    wallet_chain: WalletChain,
) -> None:
    factory = wallet_chain.factory.address
    wallet, calldata = wallet_chain.undeployed_wallet(AUTHOR)
    own = sign(AUTHOR, MESSAGE)
    assert accepted(wallet_chain, wallet, wrapped(factory, calldata, own))
    assert wallet_chain.chain.rpc("eth_getCode", wallet, "latest") == "0x"
    for signature in (
        wrapped(factory, calldata, sign(OTHER, MESSAGE)),
        wrapped(factory, calldata, sign(AUTHOR, "Something else")),
        own,  # without its factory
        "0x" + "ab" * 200,
        # A wrapping that cannot be read.
        *("0x" + body + "6492" * 16 for body in ("", "00" * 31, "ff" * 96, "00" * 64 + "ff" * 32)),
    ):
        assert not accepted(wallet_chain, wallet, signature)


def test_the_contract_decides_however_short_the_signature_is(wallet_chain: WalletChain) -> None:
    """A Safe keeps what its owners approved; the signature is then empty, or of no weight."""
    for signature in ("0x", "0x00", "0x" + "5a" * 20, "0x" + "ff" * 31):
        wallet = wallet_chain.deploy("ApprovingWallet")
        assert not accepted(wallet_chain, wallet.address, signature)
        digest = eip191_digest(MESSAGE)
        wallet_chain.transact(wallet, "approve", digest, bytes.fromhex(signature[2:]))
        assert accepted(wallet_chain, wallet.address, signature)
        assert not accepted(wallet_chain, wallet.address, signature + "01")
        assert not accepted(wallet_chain, wallet.address, signature, "Something else")
        # Without a contract there is nothing that could have approved it.
        undeployed, _ = wallet_chain.undeployed_wallet(AUTHOR)
        for none in (AUTHOR.address, undeployed, IDENTITY_PRECOMPILE, "0x" + "00" * 20):
            assert not accepted(wallet_chain, none, signature)


def test_contracts_that_are_no_wallets_and_no_factories_prove_nothing(
    wallet_chain: WalletChain,
) -> None:
    """They revert, burn all gas, or say whatever an attacker likes."""
    for number in range(ODD_ANSWERS):
        odd = str(wallet_chain.deploy("OddWallet", number).address)
        for signature in (sign(AUTHOR, MESSAGE), "0x", "0x" + "ab" * 200):
            assert not accepted(wallet_chain, odd, signature)
        victim, calldata = wallet_chain.undeployed_wallet(AUTHOR)
        for wallet, signer in ((victim, AUTHOR), (victim, OTHER), (AUTHOR.address, OTHER)):
            signature = wrapped(odd, calldata, sign(signer, MESSAGE))
            assert not accepted(wallet_chain, wallet, signature)


def test_an_attackers_own_wallet_proves_nothing_of_anothers(wallet_chain: WalletChain) -> None:
    own, factory = sign(OTHER, MESSAGE), wallet_chain.factory.address
    victim, _ = wallet_chain.undeployed_wallet(AUTHOR)
    _, calldata = wallet_chain.undeployed_wallet(OTHER)
    for wallet in (victim, AUTHOR.address):
        for target, data in ((factory, calldata), (factory, "0xdead"), (OTHER.address, "0x")):
            assert not accepted(wallet_chain, wallet, wrapped(target, data, own))
    # It answers with its input, which begins with the very value that means yes.
    for signature in (own, wrapped(OTHER.address, "0x", own)):
        assert not accepted(wallet_chain, IDENTITY_PRECOMPILE, signature)


def test_the_validator_saves_no_signature_that_a_plain_wallet_must_not_have(
    wallet_chain: WalletChain,
) -> None:
    """Its own ecrecover would take a high-s twin, wrapped or not."""
    twin = high_s_twin(sign(AUTHOR, MESSAGE))
    _, calldata = wallet_chain.undeployed_wallet(AUTHOR)  # a factory that does what it is asked
    of_raw_hash = "0x" + sign_digest(AUTHOR, keccak(text=MESSAGE)).hex()
    for signature in (twin, wrapped(wallet_chain.factory.address, calldata, twin), of_raw_hash):
        assert not accepted(wallet_chain, AUTHOR.address, signature)


@pytest.mark.django_db
def test_authors_with_smart_wallets_set_prompts(client: Client, wallet_chain: WalletChain) -> None:
    undeployed, calldata = wallet_chain.undeployed_wallet(AUTHOR)
    for wallet, wrap in ((wallet_chain.deployed_wallet(AUTHOR), False), (undeployed, True)):
        signature = sign(AUTHOR, f"Update GLISK prompt for wallet: {wallet}")
        if wrap:
            signature = wrapped(wallet_chain.factory.address, calldata, signature)
        answer = post(client, PATH, prompt_body(wallet, signature))
        assert answer.status_code == 200, answer.content
        assert Author.objects.by_wallet(wallet).get().prompt_text == "A fox"


@pytest.fixture
def node(settings: Settings) -> Iterator[ScriptedServer]:
    node = ScriptedServer()
    settings.RPC_URL = node.url
    yield node
    node.close()


def rpc(**said: Any) -> Step:
    return answer(200, {"jsonrpc": "2.0", "id": 1, **said})


def refused(code: int, message: str, **more: Any) -> Step:
    return rpc(error={"code": code, "message": message, **more})


IS_CONTRACT = rpc(result="0xfe")
# What nodes and the providers in front of them say of themselves.
NODE_FAULTS = [
    answer(500, {"error": "no"}),
    answer(429, {}),
    hang_up(),
    answer(200, b"[]"),
    answer(200, b'"nonsense"'),
    rpc(result=None),
    rpc(result=7),
    refused(429, "compute units per second"),
    refused(-32005, "daily request count exceeded"),
    refused(-32603, "Internal error"),
    refused(-32011, "no backend is currently healthy to serve traffic"),
    refused(-32000, "header not found"),
    refused(-32000, "missing trie node 1a2b (path ) <nil>"),
    refused(-32000, "execution aborted (timeout = 5s)"),
    refused(-32601, "the method eth_call does not exist/is not available"),
    refused(-38013, "block gas limit is lower than the call's"),
]
# What the validator may come to, since the wallet's own code ran in it.
WALLET_FAULTS = [
    rpc(result="0x00"),
    refused(3, "execution reverted", data="0x"),
    refused(-32000, "execution reverted"),
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
def test_a_fault_of_the_node_is_not_the_wallets(client: Client, node: ScriptedServer) -> None:
    for number, fault in enumerate(NODE_FAULTS):
        for before in ([], [IS_CONTRACT]):
            node.script(*before, fault)
            assert "chain does not answer" in refusal_of(client, SIZES[number % 3], 503), number


@pytest.mark.django_db
def test_what_the_wallets_code_does_is_not_the_nodes_fault(
    client: Client, node: ScriptedServer
) -> None:
    for number, fault in enumerate(WALLET_FAULTS):
        node.script(IS_CONTRACT, fault)
        assert "correct wallet" in refusal_of(client, SIZES[number % 3], 400), number
    asked = len(node.requests)
    for size in SIZES:  # no contract is run where there is none
        node.script(rpc(result="0x"))
        refusal_of(client, size, 400)
    assert len(node.requests) == asked + len(SIZES)


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
def test_an_outage_of_the_chain_is_told_as_such(
    client: Client, node: ScriptedServer, settings: Settings
) -> None:
    settings.HTTP_CONNECT_TIMEOUT_SECONDS, settings.RPC_TIMEOUT_SECONDS = 1.0, 0.1
    node.script(*[silence()] * 9)
    for size in (200, 0):
        assert "chain does not answer" in refusal_of(client, size, 503)
    # What looks like a plain wallet's is refused as usual, or accepted.
    body = prompt_body(AUTHOR.address, "")
    wrong, own = (sign(account, body["message"]) for account in (OTHER, AUTHOR))
    assert post(client, PATH, body | {"signature": wrong}).status_code == 400
    assert not Author.objects.exists()
    assert post(client, PATH, body | {"signature": own}).status_code == 200
