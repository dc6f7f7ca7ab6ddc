"""The demo contract is the deployed one as far as the program looks: interface, behaviour, gas."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from eth_utils.crypto import keccak
from web3.exceptions import ContractCustomError

from sandbox.accounts import AUTHORS, COLLECTORS, KEEPER, STRANGER
from sandbox.anvil import SANDBOX, ensure_compiler
from sandbox.chain import ARTEFACT_FILE, KEEPER_ROLE, MINT_PRICE_WEI, DemoChain
from sandbox.pinata.store import PLACEHOLDER_URI

AUTHOR = AUTHORS[0].address
ZERO = "0x" + "00" * 20
URI, SHORT_URI = "ipfs://bafkrei" + "a" * 52, "ipfs://Qm" + "a" * 44
# By kind of the ABI: what the program and this sandbox call, read or are refused with.
INTERFACE = {
    "function": {
        "mint": "40c10f19",
        "revealTokens": "53de7804",
        "isRevealed": "5055fbc3",
        "tokenURI": "c87b56dd",
        "nextTokenId": "75794a3c",
        "tokenPromptAuthor": "7c407c92",
        "ownerOf": "6352211e",
        "mintPrice": "6817c76c",
        "hasRole": "91d14854",
        "grantRole": "2f2ff15d",
        "KEEPER_ROLE": "364bc15a",
        "DEFAULT_ADMIN_ROLE": "a217fddf",
    },
    "event": {
        "BatchMinted": "20c0d4a5bab7118059cf1d2fd0403c4f29a05e446d435b347f90b80778374c54",
        "TokensRevealed": "5f36dfedf769ad12bf71aec843edc397276a255b70d51016d99f5fb020dfd902",
        "Transfer": "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
    },
    "error": {
        "AlreadyRevealed": "a3a57894",
        "LengthMismatch": "ff633a38",
        "InvalidQuantity": "524f409b",
        "ExceedsMaxBatchSize": "d2905bb4",
        "InsufficientPayment": "cd1c8867",
        "MintingDisabled": "af79b437",
        "AccessControlUnauthorizedAccount": "e2517d3f",
        "ERC721NonexistentToken": "7e273289",
    },
}
# Measured on the deployed contract's code: quantity or batch size, gas used.
MINT_GAS = {1: 193_620, 50: 6_923_384}
REVEAL_GAS = {
    URI: {1: 142_377, 50: 5_718_117},
    SHORT_URI: {1: 119_908, 50: 4_594_595},
}
GAS_TOLERANCE = 0.002


@pytest.fixture
def chain(deployed: DemoChain) -> Iterator[DemoChain]:
    """The contract as deployed: every test's traces are taken back."""
    snapshot = deployed.snapshot()
    yield deployed
    deployed.revert(snapshot)


def refusal(
    chain: DemoChain, sender: str, function: str, *arguments: Any, value_wei: int = 0
) -> str:
    """Return the revert data of a call that must fail, hex without 0x."""
    call = chain.contract.get_function_by_name(function)(*arguments)
    with pytest.raises(ContractCustomError) as caught:
        call.call({"from": chain.w3.to_checksum_address(sender), "value": value_wei})
    return str(caught.value.data)[2:]


def error(name: str, *words: int) -> str:
    return INTERFACE["error"][name] + "".join(f"{word:064x}" for word in words)


def succeed(chain: DemoChain, tx_hash: str) -> Any:
    receipt = chain.wait(tx_hash)
    assert receipt["status"] == 1
    return receipt


def test_selectors_and_topics_are_the_deployed_contracts() -> None:
    abi = json.loads(ARTEFACT_FILE.read_text())["abi"]
    entries = {(entry["type"], entry["name"]): entry for entry in abi if "name" in entry}
    for kind, names in INTERFACE.items():
        for name, expected in names.items():
            entry = entries[kind, name]
            types = ",".join(item["type"] for item in entry["inputs"])
            assert keccak(text=f"{name}({types})").hex().startswith(expected), name
    inputs = entries["event", "BatchMinted"]["inputs"]
    indexed = [item["name"] for item in inputs if item["indexed"]]
    assert indexed == ["minter", "promptAuthor", "startTokenId"]
    assert not entries["event", "TokensRevealed"]["inputs"][0]["indexed"]


def test_the_committed_artefacts_are_what_the_source_compiles_to() -> None:
    script = SANDBOX / "contracts" / "compile.mjs"
    command = [ensure_compiler(), str(script), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr


def test_ids_start_at_one_and_batch_minted_comes_after_the_transfers(chain: DemoChain) -> None:
    assert chain.next_token_id() == 1
    for minter, quantity in ((1, 3), (2, 1), (COLLECTORS[2].private_key, 50)):
        logs = succeed(chain, chain.mint(minter, AUTHOR, quantity))["logs"]
        topics = [bytes(log["topics"][0]).hex() for log in logs]
        assert topics[:-1] == [INTERFACE["event"]["Transfer"]] * quantity
    found = [(mint.start_token_id, mint.quantity, mint.log_index) for mint in chain.mints()]
    assert found == [(1, 3, 3), (4, 1, 1), (5, 50, 50)]
    assert chain.next_token_id() == 55


def test_mint_checks_quantity_then_size_then_payment_then_season(chain: DemoChain) -> None:
    succeed(chain, chain.send(0, "endSeason"))
    for quantity, paid, name in (
        (0, 0, "InvalidQuantity"),
        (51, 0, "ExceedsMaxBatchSize"),
        (2, 2 * MINT_PRICE_WEI - 1, "InsufficientPayment"),
        (2, 2 * MINT_PRICE_WEI, "MintingDisabled"),
    ):
        minter = COLLECTORS[0].address
        assert refusal(chain, minter, "mint", AUTHOR, quantity, value_wei=paid) == error(name)


def test_a_reveal_replaces_the_placeholder_of_any_id_with_any_uri_once(chain: DemoChain) -> None:
    succeed(chain, chain.mint(1, AUTHOR, 3))
    assert (chain.token_uri(2), chain.is_revealed(2)) == (PLACEHOLDER_URI, False)
    receipt = succeed(chain, chain.reveal(KEEPER.private_key, [2, 4], [URI, SHORT_URI]))
    assert (chain.token_uri(2), chain.token_uri(1)) == (URI, PLACEHOLDER_URI)
    (reveal,) = chain.reveal_transactions()
    found = (reveal.token_ids, reveal.uris, reveal.sender, reveal.gas_used)
    assert found == ((2, 4), (URI, SHORT_URI), KEEPER.address, receipt["gasUsed"])
    for view in ("tokenURI", "ownerOf"):
        assert refusal(chain, ZERO, view, 77) == error("ERC721NonexistentToken", 77)
    assert (chain.is_revealed(77), chain.token_prompt_author(77)) == (False, ZERO)
    # A token that does not exist was poisoned.
    succeed(chain, chain.mint(1, AUTHOR))
    assert chain.token_uri(4) == SHORT_URI
    again = refusal(chain, KEEPER.address, "revealTokens", [4], ["ipfs://right"])
    assert again == error("AlreadyRevealed", 4)
    # Nothing is checked of an empty URI, or of empty arrays.
    succeed(chain, chain.reveal(9, [], []))
    succeed(chain, chain.reveal(0, [1], [""]))
    assert (chain.is_revealed(1), chain.token_uri(1)) == (True, "")


def test_one_revealed_or_repeated_id_takes_the_whole_batch_down(chain: DemoChain) -> None:
    succeed(chain, chain.mint(1, AUTHOR, 5))
    succeed(chain, chain.reveal(9, [3], [URI]))
    offender = refusal(chain, KEEPER.address, "revealTokens", [1, 2, 3, 4], [URI] * 4)
    assert offender == error("AlreadyRevealed", 3)
    repeated = refusal(chain, KEEPER.address, "revealTokens", [1, 2, 2], [URI] * 3)
    assert repeated == error("AlreadyRevealed", 2)
    short = refusal(chain, KEEPER.address, "revealTokens", [1, 2], [URI])
    assert short == error("LengthMismatch")
    assert chain.wait(chain.reveal(9, [1, 2, 3, 4], [URI] * 4))["status"] == 0
    assert not any(chain.is_revealed(token_id) for token_id in (1, 2, 4))


def test_only_the_keeper_reveals_and_he_can_do_nothing_else(chain: DemoChain) -> None:
    stranger, keeper = (int(account.address, 16) for account in (STRANGER, KEEPER))
    role = int.from_bytes(KEEPER_ROLE)
    refused = refusal(chain, STRANGER.address, "revealTokens", [3], [URI])
    assert refused == error("AccessControlUnauthorizedAccount", stranger, role)
    for function, *arguments in (
        ("setPlaceholderURI", "ipfs://mine"),
        ("withdrawTreasury",),
        ("grantRole", keccak(text="KEEPER_ROLE"), STRANGER.address),
    ):
        refused = refusal(chain, KEEPER.address, function, *arguments)
        assert refused == error("AccessControlUnauthorizedAccount", keeper, 0), function


def test_mint_and_reveal_cost_the_deployed_contracts_gas(chain: DemoChain) -> None:
    succeed(chain, chain.mint(1, AUTHOR))  # the first one of all costs more
    for count, expected in MINT_GAS.items():
        used = succeed(chain, chain.mint(1, AUTHOR, count))["gasUsed"]
        assert used == pytest.approx(expected, rel=GAS_TOLERANCE)
    first = 1000
    for uri, costs in REVEAL_GAS.items():
        for count, expected in costs.items():
            ids, first = range(first, first + count), first + count
            used = succeed(chain, chain.reveal(9, ids, [uri] * count))["gasUsed"]
            assert used == pytest.approx(expected, rel=GAS_TOLERANCE)
    # The largest batch under the gas cap of a transaction.
    assert chain.wait(chain.reveal(9, range(1, 149), [URI] * 148))["status"] == 0
    succeed(chain, chain.reveal(9, range(1, 148), [URI] * 147))
