"""The contract's client: all facts as of one block, and no guess in any answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak

from glisk.clients.chain import (
    CUSTOM_ERRORS,
    KEEPER_ROLE,
    SELECTORS,
    ChainClient,
    RevertError,
    RpcClient,
    already_revealed_id,
    encode_reveal,
)
from glisk.clients.http import HttpOptions
from glisk.errors import ProviderError, TransientError
from glisk.tests.clients.scripted_server import ScriptedServer, Step, answer
from sandbox.accounts import AUTHORS, DEPLOYER, KEEPER, STRANGER
from sandbox.chain import L1_FEE_ORACLE, DemoChain, charge_for_data
from sandbox.tests.nodes import deployed_chain, running_node

CONTRACT = "0x" + "11" * 20
SIGNATURES = {
    "revealTokens": "revealTokens(uint256[],string[])",
    "isRevealed": "isRevealed(uint256)",
    "tokenURI": "tokenURI(uint256)",
    "nextTokenId": "nextTokenId()",
    "tokenPromptAuthor": "tokenPromptAuthor(uint256)",
    "hasRole": "hasRole(bytes32,address)",
}
URI = "ipfs://QmNv2Te3poKDS6kPeVUDbwXXsAY6FyFzC8xPxuBkJvDvdS"


def test_selectors_roles_and_errors_are_those_of_the_contract() -> None:
    for name, signature in SIGNATURES.items():
        assert SELECTORS[name] == "0x" + keccak(text=signature)[:4].hex()
    assert keccak(text="KEEPER_ROLE").hex() == KEEPER_ROLE
    arguments = {
        "AlreadyRevealed": "(uint256)",
        "LengthMismatch": "()",
        "AccessControlUnauthorizedAccount": "(address,bytes32)",
        "ERC721NonexistentToken": "(uint256)",
    }
    for selector, name in CUSTOM_ERRORS.items():
        assert selector == "0x" + keccak(text=name + arguments[name])[:4].hex()


# -- on a real node -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(anvil_binary: Path) -> Iterator[DemoChain]:
    with running_node() as node:
        yield deployed_chain(node)


@pytest.fixture
def real(demo: DemoChain) -> Iterator[ChainClient]:
    before = demo.snapshot()
    address = str(demo.contract.address)
    yield ChainClient(RpcClient(demo.rpc_url), contract_address=address)
    demo.revert(before)


def test_the_facts_of_a_batch(real: ChainClient, demo: DemoChain) -> None:
    first = demo.wait(demo.mint(1, AUTHORS[0].address, 2))
    second = demo.wait(demo.mint(2, AUTHORS[1].address, 1))
    demo.wait(demo.reveal(0, [2], [URI]))
    blocks = [first["blockNumber"], second["blockNumber"], 10**9]
    facts = real.reveal_facts(keeper=KEEPER.address, token_ids=[1, 2, 3, 4], mint_blocks=blocks)
    assert facts.chain_id == 31337
    assert facts.has_code and facts.is_keeper
    seen = {i: (t.exists, t.prompt_author, t.revealed) for i, t in facts.tokens.items()}
    nobody = "0x" + "0" * 40
    assert seen == {
        1: (True, AUTHORS[0].address.lower(), False),
        2: (True, AUTHORS[0].address.lower(), True),
        3: (True, AUTHORS[1].address.lower(), False),
        4: (False, nobody, False),
    }
    assert facts.block_hashes == {
        blocks[0]: first["blockHash"].to_0x_hex(),
        blocks[1]: second["blockHash"].to_0x_hex(),
        blocks[2]: None,
    }
    assert facts.head.number == demo.block_number()
    assert facts.balance_wei == demo.balance_wei(KEEPER.address)
    assert facts.transaction_count == 0
    for who, expected in ((DEPLOYER, True), (STRANGER, False)):
        facts = real.reveal_facts(keeper=who.address, token_ids=[], mint_blocks=[])
        assert facts.is_keeper is expected


def test_no_contract_is_a_fact_and_no_failure(demo: DemoChain) -> None:
    client = ChainClient(RpcClient(demo.rpc_url), contract_address=CONTRACT)
    facts = client.reveal_facts(keeper=KEEPER.address, token_ids=[1], mint_blocks=[1])
    assert not facts.has_code and not facts.is_keeper


def test_gas_and_fees_of_a_call_and_its_receipt(real: ChainClient, demo: DemoChain) -> None:
    demo.wait(demo.mint(1, AUTHORS[0].address, 2))
    data = encode_reveal([1, 2], [URI, URI])
    history, gas = real.fees_and_gas(keeper=KEEPER.address, data=data, percentile=50)
    assert history.next_base_fee_per_gas_wei > 0
    assert len(history.priority_fees_wei) >= 1
    assert real.fee_history(percentile=50) == history
    tx_hash = demo.reveal(0, [1, 2], [URI, URI])
    mined = demo.wait(tx_hash)
    missing = "0x" + "ab" * 32
    seen = real.mined_transactions(keeper=KEEPER.address, tx_hashes=[tx_hash, missing])
    receipt = seen.receipts[tx_hash]
    assert receipt is not None
    assert seen.receipts[missing] is None
    assert (receipt.tx_hash, receipt.succeeded) == (tx_hash, True)
    assert receipt.block_number == seen.head.number == mined["blockNumber"]
    assert receipt.block_hash == mined["blockHash"].to_0x_hex()
    assert receipt.gas_used == mined["gasUsed"] <= gas
    assert receipt.effective_gas_price_wei == mined["effectiveGasPrice"]
    assert receipt.l1_fee_wei is None
    assert (seen.chain_id, seen.transaction_count) == (31337, 0)


def test_the_price_of_data_is_that_of_bases_oracle(real: ChainClient, demo: DemoChain) -> None:
    demo.wait(demo.mint(1, AUTHORS[0].address, 1))
    charge_for_data(demo, 7 * 10**8)
    data = encode_reveal([1], [URI])
    history, _ = real.fees_and_gas(keeper=KEEPER.address, data=data, percentile=50)
    assert history.l1_fee_per_byte_wei == 7 * 10**8
    assert real.fee_history(percentile=50) == history


def test_a_chain_without_the_oracle_or_with_another_contract_there_charges_nothing(
    real: ChainClient, demo: DemoChain
) -> None:
    assert real.fee_history(percentile=50).l1_fee_per_byte_wei == 0
    demo.rpc("anvil_setCode", L1_FEE_ORACLE, "0x5f5ffd")  # reverts
    assert real.fee_history(percentile=50).l1_fee_per_byte_wei == 0


def test_a_reveal_of_what_is_revealed_names_the_token(real: ChainClient, demo: DemoChain) -> None:
    demo.wait(demo.mint(1, AUTHORS[0].address, 3))
    demo.wait(demo.reveal(0, [2], [URI]))
    data = encode_reveal([1, 2, 3], [URI] * 3)
    # A stranger, who has no role, is told another reason.
    for who, token_id in ((KEEPER, 2), (STRANGER, None)):
        with pytest.raises(RevertError) as caught:
            real.fees_and_gas(keeper=who.address, data=data, percentile=50)
        assert already_revealed_id(caught.value) == token_id


def test_an_odd_answer_names_no_token() -> None:
    for data in ("", "0x", "0xa3a57894", "0xa3a57894zz", "0xa3a5789400", "0xff633a38"):
        assert already_revealed_id(RevertError("x", data=data)) is None


# -- nodes that answer oddly ----------------------------------------------------------------------


@pytest.fixture
def scripted(server: ScriptedServer, options: HttpOptions) -> ChainClient:
    return ChainClient(RpcClient(server.url, options=options), contract_address=CONTRACT)


BLOCK = {"number": "0x5", "hash": "0x" + "0b" * 32, "timestamp": "0x65", "baseFeePerGas": "0x7"}
# Code, two roles, count, balance, next id now and when confirmed, author and flag of one token,
# chain id, the head by its number.
GOOD = [
    "0x6080", "0x1", "0x0", "0x3", "0x9", "0x2", "0x2",
    "0x" + "00" * 12 + "22" * 20, "0x" + "00" * 32, "0x7a69", BLOCK,
]  # fmt: skip
HEAD = answer(200, json.dumps({"id": 1, "result": BLOCK}))


def batch(results: list[Any]) -> Step:
    members = [
        {"id": i, "error": item} if isinstance(item, dict) and "code" in item
        else {"id": i, "result": item}
        for i, item in enumerate(results)
    ]  # fmt: skip
    return answer(200, json.dumps(members))


def ask(client: ChainClient) -> Any:
    return client.reveal_facts(keeper=KEEPER.address, token_ids=[1], mint_blocks=[])


def test_all_is_asked_of_one_block_in_two_requests(
    scripted: ChainClient, server: ScriptedServer
) -> None:
    server.script(HEAD, batch(GOOD))
    facts = ask(scripted)
    assert facts.tokens[1].prompt_author == "0x2222222222222222222222222222222222222222"
    assert (facts.transaction_count, facts.balance_wei) == (3, 9)
    assert len(server.requests) == 2
    pinned = {"blockHash": BLOCK["hash"], "requireCanonical": True}
    for call in json.loads(server.requests[1].body):
        if call["method"] not in ("eth_chainId", "eth_getBlockByNumber"):
            assert call["params"][-1] in (pinned, BLOCK["number"])


def test_a_node_that_lost_the_block_is_asked_again(
    scripted: ChainClient, server: ScriptedServer
) -> None:
    for text in (
        "header not found",  # geth
        "block not found: hash 0x0b",  # reth
        "hash 0b0b is not currently canonical",  # geth, reth
    ):
        server.script(HEAD, batch([{"code": -32000, "message": text}, *GOOD[1:]]))
        with pytest.raises(TransientError, match="lags, or there was a reorg"):
            ask(scripted)
    other = {**BLOCK, "hash": "0x" + "0c" * 32}
    server.script(HEAD, batch([*GOOD[:-1], other]))
    with pytest.raises(TransientError, match="another block"):
        ask(scripted)
    server.script(HEAD, batch(GOOD[:-1]))
    with pytest.raises(TransientError):
        ask(scripted)


def test_the_facts_are_those_of_the_named_block(
    real: ChainClient, demo: DemoChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens while the questions are on their way is not mixed in."""
    demo.wait(demo.mint(1, AUTHORS[0].address, 1))
    send = real.rpc.batch

    def ask_late(happens: Callable[[], object]) -> Any:
        monkeypatch.setattr(real.rpc, "batch", lambda calls: (happens(), send(calls))[1])
        return ask(real)

    facts = ask_late(lambda: demo.wait(demo.reveal(0, [1], [URI])))
    assert facts.head.number == demo.block_number() - 1
    assert not facts.tokens[1].revealed
    with pytest.raises(TransientError):
        ask_late(lambda: demo.reorg(1))


@pytest.mark.parametrize("position", range(len(GOOD)))
def test_no_odd_fact_is_taken_for_a_good_one(
    scripted: ChainClient, server: ScriptedServer, position: int
) -> None:
    for odd in (None, 7, "text", {"code": -32000, "message": "header not found"}):
        # Any text might be code; that there is none is the fact that matters.
        value = "0x" if (position, odd) == (0, "text") else odd
        answers = [value if i == position else item for i, item in enumerate(GOOD)]
        server.script(HEAD, batch(answers))
        with suppress(ProviderError):
            assert not ask(scripted).has_code


RECEIPT = {
    "transactionHash": "0x" + "aa" * 32,
    "blockNumber": "0x5",
    "blockHash": "0x" + "0b" * 32,
    "status": "0x1",
    "gasUsed": "0x10",
    "effectiveGasPrice": "0x7",
    "l1Fee": "0x2a",
}


def receipts(client: ChainClient, server: ScriptedServer, receipt: Any) -> Any:
    server.script(batch(["0x7a69", BLOCK, "0x3", receipt]))
    found = client.mined_transactions(keeper=KEEPER.address, tx_hashes=["0x" + "aa" * 32])
    return found.receipts["0x" + "aa" * 32]


def test_a_receipt_tells_of_failure_and_bases_l1_fee(
    scripted: ChainClient, server: ScriptedServer
) -> None:
    assert receipts(scripted, server, RECEIPT).l1_fee_wei == 42
    assert receipts(scripted, server, {**RECEIPT, "status": "0x0"}).succeeded is False
    for not_mined in (None, {**RECEIPT, "blockNumber": None}):
        assert receipts(scripted, server, not_mined) is None
    for name in ("status", "gasUsed", "blockHash", "transactionHash"):
        broken = {key: value for key, value in RECEIPT.items() if key != name}
        with pytest.raises(ProviderError):
            receipts(scripted, server, broken)


def test_a_fee_history_needs_a_base_fee_and_no_rewards(
    scripted: ChainClient, server: ScriptedServer
) -> None:
    rewardless = {"baseFeePerGas": ["0x1"], "reward": [[]]}
    odd: list[Any] = [None, {}, {"baseFeePerGas": []}, rewardless, "x"]
    for answered in odd:
        server.script(batch([answered, "0x"]))
        with pytest.raises(ProviderError):
            scripted.fee_history(percentile=50)
    result = {"baseFeePerGas": ["0x1", "0x5"], "reward": None}
    for price in (None, "text", {"code": -32000, "message": "header not found"}):
        server.script(batch([result, price]))
        with pytest.raises(ProviderError):
            scripted.fee_history(percentile=50)
    server.script(batch([result, "0x"]))
    history = scripted.fee_history(percentile=50)
    assert (history.next_base_fee_per_gas_wei, history.priority_fees_wei) == (5, ())
