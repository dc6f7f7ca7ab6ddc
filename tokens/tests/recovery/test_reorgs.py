"""Reorgs on a real node: mints move, change hands or vanish, and the database follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection

from glisk.clients.chain import SELECTORS
from glisk.clients.mint_reader import MintReader
from sandbox.accounts import AUTHORS, CONTRACT_ADDRESS
from sandbox.chain import DemoChain
from tokens.claims import claim_for_generation
from tokens.mint_log import BATCH_MINTED_TOPIC, MintLog, decode_rpc_mint_log
from tokens.models import ImageGenerationJob, MintEvent, Token, TokenTransition
from tokens.models.job import JobStatus
from tokens.models.mint import MintSource
from tokens.recovery import reorgs, unsettled
from tokens.recovery.progress import load
from tokens.recovery.proof import prove
from tokens.recovery.reorgs import ReorgReport
from tokens.recovery.scan import scan_chain
from tokens.registration import MintResult, register_mints
from tokens.states import TokenStatus
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.node_proxy import NodeProxy, no_logs_at_all

pytestmark = pytest.mark.django_db

FOX, LIGHTHOUSE = AUTHORS[0].address, AUTHORS[1].address
DEPTHS = (1, 3, 10)


def mint(chain: DemoChain, author: str = FOX, quantity: int = 1, *, minter: int = 1) -> str:
    tx_hash = chain.mint(minter, author, quantity)
    chain.wait(tx_hash)
    return tx_hash


def look(reader: MintReader) -> ReorgReport:
    return scan_chain(reader).reorgs


def look_until_sure(chain: DemoChain, reader: MintReader) -> ReorgReport:
    """Look, let two blocks pass, and look again."""
    look(reader)
    chain.mine(2)
    return look(reader)


def logs_of(chain: DemoChain) -> list[MintLog]:
    asked = {"address": CONTRACT_ADDRESS, "fromBlock": "0x0", "topics": [BATCH_MINTED_TOPIC]}
    return [decode_rpc_mint_log(log) for log in chain.rpc("eth_getLogs", asked)]


def told_by_webhook(chain: DemoChain) -> list[MintLog]:
    """Register what the chain holds now as a webhook does."""
    logs = logs_of(chain)
    register_mints(logs, source=MintSource.WEBHOOK, actor="webhook")
    return logs


def states() -> dict[int, str]:
    return dict(Token.objects.values_list("token_id", "status"))


def bury(chain: DemoChain, depth: int) -> None:
    if depth > 1:
        chain.mine(depth - 1)


# -- the same mint in another block -----------------------------------------------------


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("source", MintSource.values)
def test_a_mint_follows_its_transaction_into_another_block(
    chain: DemoChain, reader: MintReader, depth: int, source: str
) -> None:
    tx_hash = mint(chain, FOX, 3)
    if source == MintSource.WEBHOOK:
        told_by_webhook(chain)
    bury(chain, depth)
    look(reader)
    Token.objects.filter(pk=2).update(status=TokenStatus.GENERATING)
    chain.reorg(depth, keep=[(tx_hash, depth - 1)])
    assert look(reader).moved == [tx_hash]
    assert_equal_to_chain(chain)
    assert states() == {1: "detected", 2: "generating", 3: "detected"}
    assert MintEvent.objects.count() == 1


def test_a_mint_whose_log_index_changes_is_stored_once(
    chain: DemoChain, reader: MintReader
) -> None:
    first, second = mint(chain, FOX), mint(chain, LIGHTHOUSE)
    look(reader)
    chain.reorg(2, keep=[(first, 0), (second, 0)])
    told_by_webhook(chain)  # the webhook is faster than the look
    assert MintEvent.objects.count() == 2
    look(reader)
    assert [m.log_index for m in chain.mints()] == [1, 3]
    assert_equal_to_chain(chain)


def test_one_mint_that_two_deliveries_stored_becomes_one(
    chain: DemoChain, reader: MintReader
) -> None:
    """Two deliveries at the same moment, each of another block, do not see each other."""
    first, second = mint(chain, FOX), mint(chain, LIGHTHOUSE)
    look(reader)
    chain.reorg(2, keep=[(first, 0), (second, 0)])
    event = MintEvent.objects.get(tx_hash=second)
    log = next(log for log in told_by_webhook(chain) if log.tx_hash == second)
    MintEvent.objects.create(
        tx_hash=second,
        log_index=log.log_index,
        block_number=log.block_number,
        block_hash=log.block_hash,
        block_timestamp=log.block_timestamp,
        minter=event.minter,
        prompt_author=event.prompt_author,
        start_token_id=event.start_token_id,
        quantity=1,
        total_paid_wei=event.total_paid_wei,
        source=MintSource.WEBHOOK,
    )
    Token.objects.filter(pk=2).update(mint_timestamp="2026-01-01T00:00Z")  # of the old block
    look(reader)
    assert_equal_to_chain(chain)


def test_mints_that_change_places_in_a_block_keep_their_events_apart(
    chain: DemoChain, reader: MintReader
) -> None:
    """Their log indexes are exchanged, which no moment may see as two of one."""
    one, two = mint(chain, FOX, minter=1), mint(chain, FOX, minter=2)
    look(reader)
    chain.reorg(2, keep=[(two, 0), (one, 0)])
    look_until_sure(chain, reader)
    assert_equal_to_chain(chain)


# -- another mint of the same tokens ----------------------------------------------------


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("told_first", [False, True])
def test_tokens_that_another_author_got_are_made_anew(
    chain: DemoChain, reader: MintReader, depth: int, told_first: bool
) -> None:
    mint(chain, FOX, 2)
    bury(chain, depth)
    look(reader)
    Token.objects.update(status=TokenStatus.GENERATING, generation_attempts=1)
    chain.reorg(depth)
    mint(chain, LIGHTHOUSE, 3)
    if told_first:
        told_by_webhook(chain)
    report = look_until_sure(chain, reader)
    assert len(report.retired) == 1
    assert_equal_to_chain(chain)
    assert states() == dict.fromkeys((1, 2, 3), "detected")
    assert set(Token.objects.values_list("generation_attempts", flat=True)) == {0}
    assert scan_chain(reader).complete


def test_mints_that_exchange_their_ids_exchange_their_tokens(
    chain: DemoChain, reader: MintReader
) -> None:
    one, two = mint(chain, FOX, 2, minter=1), mint(chain, LIGHTHOUSE, 2, minter=2)
    look(reader)
    chain.reorg(2, keep=[(two, 0), (one, 1)])
    look_until_sure(chain, reader)
    assert_equal_to_chain(chain)
    assert Token.objects.get(pk=1).prompt == "a lighthouse at night"


def test_what_was_made_for_the_same_author_is_not_paid_for_again(
    chain: DemoChain, reader: MintReader
) -> None:
    """The collector's wallet replaced the transaction by one with a higher fee."""
    mint(chain, FOX, 2)
    look(reader)
    Token.objects.update(status=TokenStatus.GENERATING, generation_attempts=1)
    chain.reorg(1)
    replacement = mint(chain, FOX, 2, minter=2)
    look_until_sure(chain, reader)
    assert_equal_to_chain(chain)
    assert states() == {1: "generating", 2: "generating"}
    reasons = TokenTransition.objects.filter(token_id=1).values_list("reason", flat=True)
    assert any(replacement in reason for reason in reasons)


def test_a_stale_delivery_long_after_the_reorg_changes_nothing(
    chain: DemoChain, reader: MintReader
) -> None:
    mint(chain, FOX, 2)
    stale = told_by_webhook(chain)
    chain.reorg(1)
    Token.objects.all().delete()
    MintEvent.objects.all().delete()
    mint(chain, LIGHTHOUSE, 2)
    look(reader)
    chain.mine(50)
    look(reader)
    (outcome,) = register_mints(stale, source=MintSource.WEBHOOK, actor="webhook")
    assert outcome.result == MintResult.CONFLICT
    look_until_sure(chain, reader)
    assert_equal_to_chain(chain)


def test_a_stale_delivery_alone_is_found_out(chain: DemoChain, reader: MintReader) -> None:
    """Its block is far below the head by now, where no reorg is looked for any more."""
    mint(chain, FOX, 2)
    stale = logs_of(chain)
    chain.reorg(1)
    chain.mine(60)
    look(reader)
    register_mints(stale, source=MintSource.WEBHOOK, actor="webhook")
    assert Token.objects.count() == 2
    look_until_sure(chain, reader)
    assert not Token.objects.exists()
    assert not MintEvent.objects.exists()


# -- gone for good ----------------------------------------------------------------------


@pytest.mark.parametrize("depth", DEPTHS)
def test_tokens_of_a_mint_that_is_gone_are_withdrawn(
    chain: DemoChain, reader: MintReader, depth: int
) -> None:
    kept = mint(chain, LIGHTHOUSE)
    mint(chain, FOX, 3)
    bury(chain, depth)
    look(reader)
    chain.reorg(depth)
    report = look(reader)
    assert len(report.suspected) == 1
    assert len(states()) == 4
    chain.mine(2)
    assert len(look(reader).retired) == 1
    assert_equal_to_chain(chain)
    assert list(MintEvent.objects.values_list("tx_hash", flat=True)) == [kept]
    withdrawn = TokenTransition.objects.filter(to_status="").values_list("token_id", flat=True)
    assert sorted(withdrawn) == [2, 3, 4]
    assert load()[1].suspects == {}


def test_nothing_new_begins_for_tokens_whose_mint_is_missed(
    chain: DemoChain, reader: MintReader
) -> None:
    mint(chain, FOX, 2)
    look(reader)
    chain.reorg(1)
    look(reader)
    assert claim_for_generation(owner="worker", limit=10, lease_seconds=60) == []
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(next_attempt_at) > now() FROM tokens_s0")
        assert cursor.fetchone() == (True,)


def test_a_mint_that_comes_back_in_time_keeps_its_tokens(
    chain: DemoChain, reader: MintReader
) -> None:
    tx_hash = mint(chain, FOX, 2)
    raw = chain.rpc("eth_getRawTransactionByHash", tx_hash)
    look(reader)
    chain.reorg(1)
    assert look(reader).suspected == [tx_hash]
    chain.wait(chain.rpc("eth_sendRawTransaction", raw))
    assert look(reader).moved == [tx_hash]
    chain.mine(5)
    assert look(reader).retired == []
    assert_equal_to_chain(chain)
    assert load()[1].suspects == {}


def test_where_blocks_are_rare_time_takes_their_place(
    chain: DemoChain, reader: MintReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    mint(chain)
    look(reader)
    chain.reorg(1)
    look(reader)
    assert Token.objects.exists()
    monkeypatch.setattr(reorgs, "PATIENCE_SECONDS", 0.0)
    look(reader)
    assert not Token.objects.exists()


def test_a_transaction_that_fails_in_its_new_block_mints_nothing(
    chain: DemoChain, reader: MintReader
) -> None:
    """The price went up before it: the receipt exists, without a log."""
    tx_hash = mint(chain)
    look(reader)
    raise_price = chain.send(0, "setMintPrice", 10**18)
    chain.wait(raise_price)
    chain.reorg(2, keep=[(raise_price, 0), (tx_hash, 1)])
    assert chain.wait(tx_hash)["status"] == 0
    look_until_sure(chain, reader)
    assert not Token.objects.exists()
    assert not MintEvent.objects.exists()


def test_what_was_paid_for_stays_in_the_books(chain: DemoChain, reader: MintReader) -> None:
    mint(chain, FOX, 2)
    look(reader)
    submitted, created = (
        ImageGenerationJob.objects.create(
            token_id=token_id,
            prompt="a fox in the snow",
            input={"seed": token_id},
            service="replicate",
            model="m",
            external_id=external_id,
            attempt_number=1,
            status=status,
            cost_usd=cost,
        )
        for token_id, external_id, status, cost in (
            (1, "prediction1", JobStatus.SUBMITTED, "0.003"),
            (2, None, JobStatus.CREATED, None),
        )
    )
    chain.reorg(1)
    look_until_sure(chain, reader)
    submitted.refresh_from_db()
    created.refresh_from_db()
    assert (submitted.status, str(submitted.cost_usd)) == (JobStatus.FAILED, "0.003000")
    # Should its reply still come, it finds the job as one that was given up.
    assert (created.status, created.error_class) == (JobStatus.REJECTED, "withdrawn")


# -- what is revealed, or being revealed ------------------------------------------------


def reveal_here(token_id: int, uri: str = "ipfs://ours") -> None:
    Token.objects.filter(pk=token_id).update(
        status=TokenStatus.REVEALED,
        image_cid="image",
        metadata_cid=uri.removeprefix("ipfs://"),
        reveal_tx_hash=f"0x{7:064x}",
    )


def put_in_open_batch(token_ids: Sequence[int], *, is_open: bool = True) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO reveal_batches (keeper, nonce, status, created_at) "
            "VALUES (%s, 1, 'open', now()) RETURNING id",
            [AUTHORS[2].address],
        )
        batch = cursor.fetchone()[0]
        cursor.execute(
            "INSERT INTO reveal_batch_tokens (batch_id, token_id, position, metadata_uri, is_open) "
            "SELECT %s, id, id, 'ipfs://' || repeat('Q', 46), %s FROM unnest(%s::bigint[]) AS id",
            [batch, is_open, list(token_ids)],
        )


def test_a_token_in_a_transaction_under_way_waits_for_its_end(
    chain: DemoChain, reader: MintReader
) -> None:
    mint(chain, FOX, 2)
    look(reader)
    put_in_open_batch([1])
    chain.reorg(1)
    assert len(look_until_sure(chain, reader).waiting) == 1
    assert len(states()) == 2
    with connection.cursor() as cursor:
        cursor.execute("UPDATE reveal_batch_tokens SET is_open = false")
    chain.mine(1)
    assert len(look(reader).retired) == 1
    assert states() == {}


def test_a_revealed_token_that_nobody_minted_stays_for_a_person(
    chain: DemoChain, reader: MintReader
) -> None:
    mint(chain, FOX, 2)
    look(reader)
    reveal_here(1)
    chain.reorg(1)
    chain.wait(chain.reveal(0, [1], ["ipfs://ours"]))
    look_until_sure(chain, reader)
    assert states() == {1: "revealed"}
    assert Token.objects.get().mint_event is None


def test_a_revealed_token_is_handed_to_whom_the_chain_names(
    chain: DemoChain, reader: MintReader
) -> None:
    mint(chain, FOX)
    look(reader)
    reveal_here(1)
    chain.reorg(1)
    chain.wait(chain.reveal(0, [1], ["ipfs://ours"]))
    mint(chain, LIGHTHOUSE, minter=3)
    look_until_sure(chain, reader)
    token = Token.objects.select_related("author", "mint_event").get()
    assert token.status == TokenStatus.REVEALED
    assert token.prompt_author_wallet == token.author.wallet_address == LIGHTHOUSE
    assert token.mint_event is not None
    assert token.minter_address == chain.owner_of(1)
    assert token.prompt == "a fox in the snow"  # what its art was made of


def test_our_own_reveal_that_a_reorg_took_too_is_left_to_its_watch(
    chain: DemoChain, reader: MintReader
) -> None:
    """Our signed transaction may be mined again: the token must not be made anew meanwhile."""
    mint(chain, FOX)
    look(reader)
    reveal_here(1)
    chain.reorg(1)
    mint(chain, LIGHTHOUSE)
    assert len(look_until_sure(chain, reader).waiting) == 1
    assert states() == {1: "revealed"}


# -- nodes that contradict themselves ---------------------------------------------------


def test_a_token_that_the_contract_knows_is_not_withdrawn_for_a_missing_log(
    chain: DemoChain, bad_reader: MintReader, proxy: NodeProxy
) -> None:
    """The node has lost its logs and its receipts, and calls another block by our number."""
    mint(chain, FOX, 2)
    look(bad_reader)
    lost: dict[str, object] = {"eth_getLogs": [], "eth_getTransactionReceipt": None}

    def alter(method: str, params: list[object], answer: dict[str, object]) -> object:
        if method == "eth_getBlockByNumber" and params[0] != "latest":
            block = answer["result"]
            assert isinstance(block, dict)
            return {**answer, "result": {**block, "hash": "0x" + "ab" * 32}}
        return {**answer, "result": lost[method]} if method in lost else answer

    proxy.alter = alter
    for _ in range(3):
        chain.mine(3)
        assert look(bad_reader).retired == []
    proxy.reset()
    assert look(bad_reader).suspected == []
    assert_equal_to_chain(chain)


def test_a_node_that_is_stuck_on_an_old_fork_withdraws_nothing(
    chain: DemoChain, bad_reader: MintReader, proxy: NodeProxy
) -> None:
    """Everything that it says is of a chain that has long been left: only its head tells."""
    chain.mine(20)
    mint(chain, FOX, 2)
    look(bad_reader)
    stuck_at = hex(chain.block_number() - 10)
    reverted = {"code": 3, "message": "execution reverted", "data": "0x7e273289"}

    def alter(method: str, params: list[Any], answer: dict[str, Any]) -> Any:
        if method == "eth_getBlockByNumber":
            number = stuck_at if params[0] == "latest" else params[0]
            block = {**answer["result"], "number": number, "hash": "0x" + "ab" * 32}
            return {**answer, "result": block}
        if method == "eth_call" and params[0]["data"] != SELECTORS["nextTokenId"]:
            return {"jsonrpc": "2.0", "id": answer["id"], "error": reverted}
        old: dict[str, Any] = {
            "eth_getLogs": [],
            "eth_getTransactionReceipt": None,
            "eth_call": f"0x{1:064x}",
        }
        return {**answer, "result": old[method]} if method in old else answer

    proxy.alter = alter
    for _ in range(3):
        assert look(bad_reader) == ReorgReport()
        chain.mine(3)
        stuck_at = hex(int(stuck_at, 16) + 1)  # it goes on, by itself
    proxy.reset()
    assert_equal_to_chain(chain)


def test_a_changed_contract_address_withdraws_nothing(chain: DemoChain, reader: MintReader) -> None:
    """A mistake in the settings must not empty the database."""
    mint(chain, FOX, 2)
    told_by_webhook(chain)
    look(reader)
    other = DemoChain(chain.rpc_url, contract_address=AUTHORS[2].address)
    other._bind(_deploy_another(chain))
    reader.contract_address = other.contract.address
    for _ in range(3):
        chain.mine(8)
        scan_chain(reader)
    assert len(states()) == 2
    prove(reader, budget_seconds=10)
    assert len(states()) == 2


def _deploy_another(chain: DemoChain) -> str:
    """Deploy the contract a second time; return its address."""
    source = chain._artefact
    factory = chain.w3.eth.contract(abi=source["abi"], bytecode=source["bytecode"])
    creation = factory.constructor("Other", "O", "uri", 1).build_transaction(
        {"gas": 0, "maxFeePerGas": 0, "maxPriorityFeePerGas": 0, "chainId": 0}
    )
    receipt = chain.wait(chain.send_raw(0, data=str(creation["data"]), gas=6_000_000))
    return str(receipt["contractAddress"])


def test_a_faulty_settlement_does_not_keep_new_mints_waiting(
    chain: DemoChain, bad_reader: MintReader, proxy: NodeProxy
) -> None:
    tx_hash = mint(chain, FOX)
    chain.mine(1)
    look(bad_reader)
    chain.reorg(2, keep=[(tx_hash, 1)])
    mint(chain, LIGHTHOUSE)
    proxy.alter = lambda method, params, answer: (
        {**answer, "result": "nonsense"} if method == "eth_getTransactionReceipt" else answer
    )
    with pytest.raises(Exception, match="receipt"):
        look(bad_reader)
    assert sorted(states()) == [1, 2]


def test_what_a_webhook_invented_does_not_last(chain: DemoChain, reader: MintReader) -> None:
    """A well signed mint in a canonical block, of a transaction that the chain does not know."""
    mint(chain, FOX)
    (real,) = told_by_webhook(chain)
    forged = MintLog(
        **{**vars(real), "tx_hash": f"0x{9:064x}", "start_token_id": 2, "log_index": 7}
    )
    register_mints([forged], source=MintSource.WEBHOOK, actor="webhook")
    assert sorted(states()) == [1, 2]
    chain.mine(unsettled.settled_depth())
    look_until_sure(chain, reader)
    assert_equal_to_chain(chain)


def test_a_mint_is_settled_by_its_receipt_where_the_node_gives_no_logs(
    chain: DemoChain, bad_reader: MintReader, proxy: NodeProxy
) -> None:
    """Each look failed, and after three of them the node counted as down for the reveals too."""
    mint(chain, FOX, 2)
    told_by_webhook(chain)
    chain.mine(unsettled.settled_depth())
    proxy.alter = no_logs_at_all
    look(bad_reader)
    assert not MintEvent.objects.filter(settled_at=None).exists()
    assert_equal_to_chain(chain)
