"""The demo contract has the deployed contract's interface, bit for bit where callers look."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from eth_utils.abi import (
    event_abi_to_log_topic,
    event_signature_to_log_topic,
    function_abi_to_4byte_selector,
)

from sandbox.accounts import AUTHORS, KEEPER
from sandbox.anvil import SANDBOX, ensure_compiler
from sandbox.chain import ARTEFACT_FILE
from sandbox.tests.nodes import deployed_chain, running_node

SELECTORS = {
    "mint": "40c10f19",
    "revealTokens": "53de7804",
    "isRevealed": "5055fbc3",
    "tokenURI": "c87b56dd",
    "nextTokenId": "75794a3c",
    "tokenPromptAuthor": "7c407c92",
    "ownerOf": "6352211e",
    "totalSupply": "18160ddd",
    "balanceOf": "70a08231",
    "tokenByIndex": "4f6ccce7",
    "tokenOfOwnerByIndex": "2f745c59",
    "setPlaceholderURI": "3574a2dd",
    "mintPrice": "6817c76c",
    "setMintPrice": "f4a0a528",
    "authorClaimable": "3ecbfe01",
    "claimAuthorRewards": "93416375",
    "seasonEnded": "66eb623e",
    "seasonEndTime": "07ac1a53",
    "endSeason": "3dcdb672",
    "sweepUnclaimedRewards": "e4ef9ab1",
    "treasuryBalance": "313dab20",
    "withdrawTreasury": "166bab95",
    "recoverERC20": "8980f11f",
    "hasRole": "91d14854",
    "grantRole": "2f2ff15d",
    "revokeRole": "d547741f",
    "renounceRole": "36568abe",
    "getRoleAdmin": "248a9ca3",
    "KEEPER_ROLE": "364bc15a",
    "DEFAULT_ADMIN_ROLE": "a217fddf",
    "MAX_BATCH_SIZE": "cfdbf254",
    "SWEEP_PROTECTION_PERIOD": "246d5829",
    "royaltyInfo": "2a55205a",
    "setDefaultRoyalty": "04634d8d",
    "supportsInterface": "01ffc9a7",
}
TOPICS = {
    "BatchMinted": "20c0d4a5bab7118059cf1d2fd0403c4f29a05e446d435b347f90b80778374c54",
    "TokensRevealed": "5f36dfedf769ad12bf71aec843edc397276a255b70d51016d99f5fb020dfd902",
    "Transfer": "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
    "PlaceholderURIUpdated": "ab8c8ef7564a59055ab832c6fa8c5473c482865dfdbfb7a538c325aaf27e7116",
    "MintPriceUpdated": "2e1c9e000c6e8dda4d03536adb13b7cb6034ccff90d17f01de381e4d5097b525",
    "SeasonEnded": "71b1ed1af5dc112f73a5ec9d0960e84a848b781220620ccc8fb91814ab3047be",
    "AuthorClaimed": "f16699a137e71c0d60788e62870d8740b7bfd49934df6aa4ab690d477033c38e",
    "RoleGranted": "2f8788117e7eff1d82e926ec794901d17c78024a50270940304540a733656f0d",
    "RoleRevoked": "f6391f5c32d9c69d2a47ea670b442974b53935d1edc7fd64eb21e047a839171b",
    "RoyaltyUpdated": "8039bd6e",
    "TreasuryWithdrawn": "41fdd680",
    "DirectPaymentReceived": "8f420229",
    "UnclaimedRewardsSwept": "ead8bae7",
    "ERC20Recovered": "aca8fb25",
}
ERRORS = {
    "AlreadyRevealed": "a3a57894",
    "LengthMismatch": "ff633a38",
    "InvalidQuantity": "524f409b",
    "ExceedsMaxBatchSize": "d2905bb4",
    "InsufficientPayment": "cd1c8867",
    "MintingDisabled": "af79b437",
    "SeasonAlreadyEnded": "e6c475e6",
    "SeasonNotEnded": "7221b37b",
    "SweepProtectionActive": "6f8347bd",
    "NoBalance": "c2caa2a6",
    "TransferFailed": "90b8ec18",
    "AccessControlUnauthorizedAccount": "e2517d3f",
    "AccessControlBadConfirmation": "6697b232",
    "ERC721NonexistentToken": "7e273289",
    "ERC721InvalidReceiver": "64a0ae92",
    "ERC721OutOfBoundsIndex": "a57d13dc",
    "ReentrancyGuardReentrantCall": "3ee5aeb5",
}
SLOTS = {
    "_nextTokenId": 14,
    "mintPrice": 15,
    "treasuryBalance": 16,
    "_placeholderURI": 17,
    "seasonEnded": 18,
    "seasonEndTime": 19,
    "tokenPromptAuthor": 20,
    "_tokenURIs": 21,
    "_revealed": 22,
    "authorClaimable": 23,
}
# Measured on the deployed contract's code: quantity or batch size, gas used.
MINT_GAS = {1: 193_620, 2: 330_962, 5: 742_988, 10: 1_429_698, 50: 6_923_384}
REVEAL_GAS_66 = {1: 142_377, 2: 256_155, 5: 597_537, 10: 1_166_511, 25: 2_873_362, 50: 5_718_117}
REVEAL_GAS_53 = {1: 119_908, 50: 4_594_595}
FIRST_MINT_GAS = 222_220
GAS_TOLERANCE = 0.002


@pytest.fixture(scope="module")
def abi() -> list[dict[str, Any]]:
    artefact: dict[str, Any] = json.loads(ARTEFACT_FILE.read_text())
    entries: list[dict[str, Any]] = artefact["abi"]
    return entries


def named(abi: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return {entry["name"]: entry for entry in abi if entry["type"] == kind}


def test_selectors_and_topics_are_the_deployed_contracts(abi: list[dict[str, Any]]) -> None:
    functions, events, errors = (named(abi, kind) for kind in ("function", "event", "error"))
    for name, selector in SELECTORS.items():
        assert function_abi_to_4byte_selector(functions[name]).hex() == selector, name
    for name, topic in TOPICS.items():
        assert event_abi_to_log_topic(events[name]).hex().startswith(topic), name
    for name, selector in ERRORS.items():
        inputs = ",".join(item["type"] for item in errors[name]["inputs"])
        assert event_signature_to_log_topic(f"{name}({inputs})")[:4].hex() == selector, name


def test_batch_minted_indexes_minter_author_and_start(abi: list[dict[str, Any]]) -> None:
    inputs = named(abi, "event")["BatchMinted"]["inputs"]
    assert [(item["name"], item["indexed"]) for item in inputs] == [
        ("minter", True),
        ("promptAuthor", True),
        ("startTokenId", True),
        ("quantity", False),
        ("totalPaid", False),
    ]
    assert not named(abi, "event")["TokensRevealed"]["inputs"][0]["indexed"]


def test_storage_slots_are_the_deployed_contracts() -> None:
    storage = json.loads(ARTEFACT_FILE.read_text())["storage"]
    assert {name: storage[name] for name in SLOTS} == SLOTS


def test_the_committed_artefacts_are_what_the_source_compiles_to() -> None:
    script = SANDBOX / "contracts" / "compile.mjs"
    done = subprocess.run(
        [ensure_compiler(), script, "--check"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def within_tolerance(used: dict[int, int], expected: dict[int, int]) -> bool:
    return used.keys() == expected.keys() and all(
        abs(used[count] - expected[count]) <= GAS_TOLERANCE * expected[count] for count in used
    )


def test_mint_and_reveal_cost_the_deployed_contracts_gas(anvil_binary: Path) -> None:
    long_uri, short_uri = "ipfs://bafkrei" + "a" * 52, "ipfs://Qm" + "a" * 44
    assert (len(long_uri), len(short_uri)) == (66, 53)
    with running_node() as node:
        chain = deployed_chain(node)

        def reveal_gas(first: int, count: int, uri: str) -> int:
            ids = range(first, first + count)
            tx_hash = chain.reveal(KEEPER.private_key, ids, [uri] * count)
            return int(chain.wait(tx_hash)["gasUsed"])

        first = chain.wait(chain.mint(1, AUTHORS[0].address))["gasUsed"]
        assert abs(first - FIRST_MINT_GAS) <= GAS_TOLERANCE * FIRST_MINT_GAS
        mints = {
            count: chain.wait(chain.mint(1, AUTHORS[0].address, count))["gasUsed"]
            for count in MINT_GAS
        }
        assert within_tolerance(mints, MINT_GAS)
        long_reveals = {count: reveal_gas(1000 * count, count, long_uri) for count in REVEAL_GAS_66}
        assert within_tolerance(long_reveals, REVEAL_GAS_66)
        short_reveals = {
            count: reveal_gas(100_000 * count, count, short_uri) for count in REVEAL_GAS_53
        }
        assert within_tolerance(short_reveals, REVEAL_GAS_53)


def test_the_largest_batch_under_the_gas_cap_is_147(anvil_binary: Path) -> None:
    uri = "ipfs://bafkrei" + "a" * 52
    with running_node() as node:
        chain = deployed_chain(node)
        too_many = chain.wait(chain.reveal(9, range(1, 149), [uri] * 148))
        assert too_many["status"] == 0
        assert chain.wait(chain.reveal(9, range(1, 148), [uri] * 147))["status"] == 1
