"""What the contract does, on a real node: the facts that the backend is built around."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak
from web3.exceptions import ContractCustomError

from sandbox.accounts import AUTHORS, COLLECTORS, CONTRACT_ADDRESS, KEEPER, STRANGER
from sandbox.chain import KEEPER_ROLE, MINT_PRICE_WEI, DemoChain
from sandbox.pinata.store import PLACEHOLDER_URI
from sandbox.tests.nodes import deployed_chain, running_node

AUTHOR = AUTHORS[0].address
ZERO = "0x" + "00" * 20
URI = "ipfs://bafkrei" + "a" * 52
TWO_WEEKS_SECONDS = 14 * 24 * 3600


@pytest.fixture(scope="module")
def shared_chain(anvil_binary: Path) -> Iterator[DemoChain]:
    with running_node() as node:
        yield deployed_chain(node)


@pytest.fixture
def chain(shared_chain: DemoChain) -> Iterator[DemoChain]:
    """The contract as deployed: every test's traces are taken back."""
    snapshot = shared_chain.snapshot()
    yield shared_chain
    shared_chain.revert(snapshot)


def selector(signature: str) -> str:
    return "0x" + keccak(text=signature)[:4].hex()


def refusal(
    chain: DemoChain, sender: str, function: str, *arguments: Any, value_wei: int = 0
) -> str:
    """Return the revert data of a call that must fail."""
    call = chain.contract.get_function_by_name(function)(*arguments)
    with pytest.raises(ContractCustomError) as caught:
        call.call({"from": chain.w3.to_checksum_address(sender), "value": value_wei})
    return str(caught.value.data)


def succeed(chain: DemoChain, tx_hash: str) -> Any:
    receipt = chain.wait(tx_hash)
    assert receipt["status"] == 1
    return receipt


# --- minting -----------------------------------------------------------------------------------


def test_ids_start_at_one_and_batches_tile_the_range(chain: DemoChain) -> None:
    assert chain.next_token_id() == 1
    for minter, quantity in ((1, 3), (2, 1), (COLLECTORS[2].private_key, 50)):
        succeed(chain, chain.mint(minter, AUTHOR, quantity))
    next_id = 1
    for mint in chain.mints():
        assert mint.start_token_id == next_id
        next_id += mint.quantity
    assert next_id == chain.next_token_id() == 55


def test_batch_minted_comes_after_the_transfers(chain: DemoChain) -> None:
    logs = succeed(chain, chain.mint(1, AUTHOR, 4))["logs"]
    transfer = keccak(text="Transfer(address,address,uint256)")
    assert [bytes(log["topics"][0]) == transfer for log in logs] == [True] * 4 + [False]
    assert chain.mints()[0].log_index == 4


def test_mint_checks_quantity_then_size_then_payment_then_season(chain: DemoChain) -> None:
    price = MINT_PRICE_WEI
    minter = COLLECTORS[0].address
    succeed(chain, chain.send(0, "endSeason"))
    assert refusal(chain, minter, "mint", AUTHOR, 0) == selector("InvalidQuantity()")
    assert refusal(chain, minter, "mint", AUTHOR, 51) == selector("ExceedsMaxBatchSize()")
    short = refusal(chain, minter, "mint", AUTHOR, 2, value_wei=2 * price - 1)
    assert short == selector("InsufficientPayment()")
    ended = refusal(chain, minter, "mint", AUTHOR, 2, value_wei=2 * price)
    assert ended == selector("MintingDisabled()")


# --- revealing ---------------------------------------------------------------------------------


def test_a_reveal_replaces_the_placeholder(chain: DemoChain) -> None:
    succeed(chain, chain.mint(1, AUTHOR, 2))
    assert chain.token_uri(2) == PLACEHOLDER_URI
    assert not chain.is_revealed(2)
    receipt = succeed(chain, chain.reveal(KEEPER.private_key, [2], [URI]))
    assert chain.token_uri(2) == URI
    assert chain.token_uri(1) == PLACEHOLDER_URI
    reveal = chain.reveal_transactions()[0]
    assert (reveal.token_ids, reveal.uris, reveal.sender) == ((2,), (URI,), KEEPER.address)
    assert reveal.gas_used == receipt["gasUsed"]


def test_a_token_that_does_not_exist_can_be_revealed_and_is_poisoned(chain: DemoChain) -> None:
    succeed(chain, chain.reveal(9, [1, 999_999], [URI, ""]))
    assert chain.is_revealed(999_999)
    succeed(chain, chain.mint(1, AUTHOR))
    assert chain.token_uri(1) == URI
    again = refusal(chain, KEEPER.address, "revealTokens", [1], ["ipfs://right"])
    assert again == selector("AlreadyRevealed(uint256)") + f"{1:064x}"


def test_an_empty_uri_and_empty_arrays_succeed(chain: DemoChain) -> None:
    succeed(chain, chain.mint(1, AUTHOR))
    succeed(chain, chain.reveal(9, [], []))
    succeed(chain, chain.reveal(9, [1], [""]))
    assert chain.is_revealed(1)
    assert chain.token_uri(1) == ""


def test_one_revealed_or_repeated_id_takes_the_whole_batch_down(chain: DemoChain) -> None:
    succeed(chain, chain.mint(1, AUTHOR, 5))
    succeed(chain, chain.reveal(9, [3], [URI]))
    offender = refusal(chain, KEEPER.address, "revealTokens", [1, 2, 3, 4], [URI] * 4)
    assert offender == selector("AlreadyRevealed(uint256)") + f"{3:064x}"
    repeated = refusal(chain, KEEPER.address, "revealTokens", [1, 2, 2], [URI] * 3)
    assert repeated == selector("AlreadyRevealed(uint256)") + f"{2:064x}"
    assert chain.wait(chain.reveal(9, [1, 2, 3, 4], [URI] * 4))["status"] == 0
    assert not any(chain.is_revealed(token_id) for token_id in (1, 2, 4))


def test_ids_and_uris_must_be_of_one_length(chain: DemoChain) -> None:
    short = refusal(chain, KEEPER.address, "revealTokens", [1, 2], [URI])
    assert short == selector("LengthMismatch()")


def test_keeper_and_admin_may_reveal_and_a_refusal_names_the_keepers_role(
    chain: DemoChain,
) -> None:
    succeed(chain, chain.reveal(9, [1], [URI]))
    succeed(chain, chain.reveal(0, [2], [URI]))
    refused = refusal(chain, STRANGER.address, "revealTokens", [3], [URI])
    assert refused == (
        selector("AccessControlUnauthorizedAccount(address,bytes32)")
        + STRANGER.address[2:].lower().rjust(64, "0")
        + KEEPER_ROLE.hex()
    )


def test_views_of_tokens_that_do_not_exist(chain: DemoChain) -> None:
    assert not chain.is_revealed(77)
    assert chain.token_prompt_author(77) == ZERO
    nonexistent = selector("ERC721NonexistentToken(uint256)")
    assert refusal(chain, ZERO, "tokenURI", 77).startswith(nonexistent)
    assert refusal(chain, ZERO, "ownerOf", 77).startswith(nonexistent)


# --- administration ----------------------------------------------------------------------------


def test_the_keeper_can_do_nothing_but_reveal(chain: DemoChain) -> None:
    unauthorized = selector("AccessControlUnauthorizedAccount(address,bytes32)")
    attempts: list[tuple[Any, ...]] = [
        ("setPlaceholderURI", "ipfs://mine"),
        ("setMintPrice", 0),
        ("endSeason",),
        ("withdrawTreasury",),
        ("sweepUnclaimedRewards", []),
        ("recoverERC20", KEEPER.address, 1),
        ("setDefaultRoyalty", KEEPER.address, 1),
        ("grantRole", KEEPER_ROLE, STRANGER.address),
    ]
    for attempt in attempts:
        refused = refusal(chain, KEEPER.address, *attempt)
        assert refused == (unauthorized + KEEPER.address[2:].lower().rjust(64, "0") + "00" * 32), (
            attempt
        )
    admin_role = bytes(32)
    assert not chain.contract.functions.hasRole(admin_role, KEEPER.address).call()


# --- the chain around it -----------------------------------------------------------------------


def test_deploying_again_changes_nothing(chain: DemoChain) -> None:
    block = chain.block_number()
    assert DemoChain(chain.rpc_url).deploy() == CONTRACT_ADDRESS
    assert chain.block_number() == block
    assert not chain.has_keeper_role(STRANGER.address)
    chain.deploy(STRANGER.address)
    assert chain.has_keeper_role(STRANGER.address)


def test_a_reorg_takes_a_mint_back_or_moves_it(chain: DemoChain) -> None:
    succeed(chain, chain.mint(1, AUTHOR))
    kept = chain.mint(2, AUTHOR, 2)
    before = chain.mints()[1]
    chain.reorg(2, keep=[(kept, 1)])
    (after,) = chain.mints()
    assert after.tx_hash == before.tx_hash
    assert after.block_number == before.block_number
    assert after.block_hash != before.block_hash
    assert (after.start_token_id, chain.next_token_id()) == (1, 3)
