"""Crashes, nodes and fees that do not do what they should: still each token exactly once."""

from collections.abc import Callable

import pytest
from django.utils import timezone
from eth_account import Account
from pytest_django import Settings

from glisk.clients.chain import ChainClient, encode_reveal
from glisk.clients.rpc import RpcError
from glisk.errors import TransientError
from reveals import outbox, settlement
from reveals.fees import Fees, choose_fees, configured_ceiling_wei
from reveals.models import RevealBatch, RevealTransaction
from reveals.tests.stage import Scene, breaker_reason, is_held_back, statuses, transactions
from sandbox.accounts import ACCOUNTS, KEEPER
from sandbox.chain import KEEPER_ROLE
from sandbox.node import free_port
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.tests.stage import Start, Worker, is_failed

pytestmark = pytest.mark.django_db

GWEI = 10**9


def signed(worker: Worker) -> RevealTransaction:
    """Turn until the first transaction is stored, and let nothing be broadcast."""
    submit = worker.drain.submit

    def hold(kind: str, key: object, function: Callable[..., object], *arguments: object) -> None:
        if kind != "broadcast":
            submit(kind, key, function, *arguments)

    worker.drain.submit = hold  # type: ignore[method-assign]
    worker.until(RevealTransaction.objects.exists)
    return transactions()[0]


# -- crashes ------------------------------------------------------------------------------------


def test_killed_before_the_broadcast_the_same_bytes_go_out(worker: Start, scene: Scene) -> None:
    tokens = scene.mint(2)
    first = worker()
    row = signed(first)
    first.crash()
    assert scene.pool() == []
    worker().until(lambda: scene.revealed_once(tokens))
    assert [r.tx_hash for r in scene.chain.reveal_transactions()] == [row.tx_hash]
    assert statuses() == ["confirmed"]
    assert scene.nonce() == 1


def test_killed_after_the_broadcast(worker: Start, scene: Scene) -> None:
    tokens = scene.mint(2)
    scene.chain.set_automine(False)
    first = worker()
    first.until(lambda: len(scene.pool()) == 1)
    first.crash()
    second = worker()
    second.settle(0.3)
    assert len(scene.pool()) == 1
    scene.chain.mine()
    second.until(lambda: scene.revealed_once(tokens))
    assert statuses() == ["confirmed"]


def test_killed_when_it_was_mined_but_not_yet_noted(worker: Start, scene: Scene) -> None:
    tokens = scene.mint(2)
    first = worker()
    first.until(lambda: scene.chain.is_revealed(tokens[0].token_id))
    if statuses() != ["confirmed"]:
        first.crash()
    worker().until(lambda: scene.revealed_once(tokens))
    assert scene.nonce() == 1


def test_killed_with_several_in_flight_leaves_no_gap(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.BATCH_REVEAL_MAX_TOKENS = 1
    tokens = scene.mint(6)
    scene.chain.set_automine(False)
    first = worker()
    first.until(lambda: len(transactions()) == 3)
    first.crash()
    second = worker()
    second.until(lambda: len(transactions()) == 4)
    scene.chain.set_automine(True)
    scene.chain.mine()
    second.until(lambda: scene.revealed_once(tokens))
    assert sorted(row.nonce for row in transactions()) == [0, 1, 2, 3, 4, 5]
    assert scene.nonce() == 6


def test_when_the_answer_to_a_commit_is_lost_nothing_is_signed_twice(
    worker: Start, scene: Scene
) -> None:
    tokens = scene.mint()
    drain = worker()
    drain.until(lambda: drain.drain._preparing is not None)  # type: ignore[attr-defined]
    prepared = drain.finished()
    while not any(result.kind == "prepare" for result in prepared):
        drain.drain.turn(prepared)
        prepared = drain.finished()
    store = outbox.store_signed
    calls = []

    def store_and_lose(**facts: object) -> RevealTransaction | None:
        calls.append(store(**facts))  # type: ignore[arg-type]
        raise ConnectionError("server closed the connection unexpectedly")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "store_signed", store_and_lose)
        with pytest.raises(ConnectionError):
            drain.drain.turn(prepared)
    drain.drain.turn(prepared)  # the loop delivers them again
    drain.until(lambda: scene.revealed_once(tokens))
    assert len(calls) == len(transactions()) == 1


# -- the pool ------------------------------------------------------------------------------------


def test_a_dropped_transaction_is_broadcast_again(worker: Start, scene: Scene) -> None:
    tokens = scene.mint()
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: len(scene.pool()) == 1)
    (tx_hash,) = scene.pool()
    scene.chain.drop_transaction(tx_hash)
    assert scene.pool() == []
    drain.until(lambda: scene.pool() == [tx_hash])
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert len(transactions()) == 1


def test_a_refusal_that_nobody_knows_is_shown_until_it_is_over(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = scene.mint()
    text = "tx fee (2.00 ether) exceeds the configured cap (1.00 ether)"

    def refuse(self: ChainClient, raw: bytes) -> None:
        raise RpcError(-32000, text, "eth_sendRawTransaction")

    drain = worker()
    with monkeypatch.context() as patch:
        patch.setattr(ChainClient, "send_raw_transaction", refuse)
        drain.until(lambda: any(text in row.error for row in transactions()))
    drain.until(lambda: scene.revealed_once(tokens))
    assert [row.error for row in transactions()] == [""]


def test_a_lost_reply_to_the_broadcast_is_no_failure(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = ChainClient.send_raw_transaction
    lost: list[bytes] = []

    def send_and_lose(self: ChainClient, raw: bytes) -> None:
        send(self, raw)
        if not lost:
            lost.append(raw)
            raise TransientError("the reply was lost", vendor="chain")

    monkeypatch.setattr(ChainClient, "send_raw_transaction", send_and_lose)
    tokens = scene.mint()
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: statuses() == ["broadcast"])
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert lost and len(transactions()) == 1


def stuck(scene: Scene, drain: Worker) -> str:
    """Bring a transaction into the pool that nobody mines; return its hash."""
    scene.chain.set_automine(False)
    drain.until(lambda: statuses() == ["broadcast"])
    (tx_hash,) = scene.pool()
    return tx_hash


def test_a_stuck_transaction_is_replaced_and_one_of_them_is_mined(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.TRANSACTION_TIMEOUT_SECONDS = 0.3
    tokens = scene.mint(2)
    drain = worker()
    old_hash = stuck(scene, drain)
    drain.until(lambda: scene.pool() not in ([], [old_hash]))
    drain.until(lambda: statuses() == ["broadcast", "broadcast"])
    settings.TRANSACTION_TIMEOUT_SECONDS = 180
    old, new = transactions()[:2]
    assert (new.replaces_id, new.nonce, new.token_ids) == (old.pk, old.nonce, old.token_ids)
    assert 8 * int(new.max_fee_per_gas_wei) >= 9 * int(old.max_fee_per_gas_wei)
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert scene.nonce() == 1
    assert statuses()[-1] == "confirmed"
    assert set(statuses()[:-1]) == {"replaced"}


def test_a_base_fee_that_rose_above_the_offer_is_followed(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.TRANSACTION_TIMEOUT_SECONDS = 0.3
    tokens = scene.mint(2)
    drain = worker()
    old_hash = stuck(scene, drain)
    offered = int(transactions()[0].max_fee_per_gas_wei)
    scene.chain.set_base_fee(2 * offered)
    scene.chain.mine()  # the node throws out what cannot pay
    assert old_hash not in scene.pool()
    drain.until(lambda: statuses()[-1] == "broadcast" and len(transactions()) > 1)
    settings.TRANSACTION_TIMEOUT_SECONDS = 180
    assert int(transactions()[-1].max_fee_per_gas_wei) > 2 * offered
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert scene.nonce() == 1


def test_the_original_may_win_over_its_replacement(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.TRANSACTION_TIMEOUT_SECONDS = 0.3
    tokens = scene.mint()
    drain = worker()
    old_hash = stuck(scene, drain)
    drain.until(lambda: len(transactions()) == 2)
    settings.TRANSACTION_TIMEOUT_SECONDS = 180
    drain.until(lambda: scene.pool() not in ([], [old_hash]))
    (new_hash,) = scene.pool()
    scene.chain.drop_transaction(new_hash)
    raw = bytes(transactions()[0].raw_transaction)
    scene.chain.w3.eth.send_raw_transaction(raw)
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert statuses()[0] == "confirmed"
    assert set(statuses()[1:]) == {"replaced"}
    assert Token.objects.get().reveal_tx_hash == old_hash


def test_at_the_ceiling_the_same_bytes_are_sent_again_with_pauses(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.TRANSACTION_TIMEOUT_SECONDS = 0.2
    tokens = scene.mint()
    drain = worker()
    old_hash = stuck(scene, drain)
    settings.REVEAL_MAX_GAS_PRICE_GWEI = int(transactions()[0].max_fee_per_gas_wei) / GWEI
    turns = drain.turns
    drain.settle(0.8)
    assert len(transactions()) == 1
    assert drain.turns - turns < 80
    assert scene.pool() == [old_hash]
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert Token.objects.get().reveal_tx_hash == old_hash


def test_a_refusal_at_the_ceiling_does_not_hammer_the_node(
    worker: Start, scene: Scene, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base fee rose between signing and broadcast, and the ceiling leaves no room."""
    tokens = scene.mint()
    first = worker()
    row = signed(first)
    first.crash()
    settings.REVEAL_MAX_GAS_PRICE_GWEI = int(row.max_fee_per_gas_wei) / GWEI
    refusals: list[bytes] = []
    send = ChainClient.send_raw_transaction

    def underpriced(self: ChainClient, raw: bytes) -> None:
        refusals.append(raw)
        raise RpcError(-32000, "max fee per gas less than block base fee", "x")

    monkeypatch.setattr(ChainClient, "send_raw_transaction", underpriced)
    second = worker()
    second.until(lambda: len(refusals) >= 2)
    refusals.clear()
    second.settle(0.8)
    assert len(refusals) <= 8
    monkeypatch.setattr(ChainClient, "send_raw_transaction", send)
    second.until(lambda: scene.revealed_once(tokens))
    assert len(transactions()) == 1


# -- somebody else ---------------------------------------------------------------------------------


def test_a_nonce_that_somebody_else_spent_frees_the_tokens(worker: Start, scene: Scene) -> None:
    tokens = scene.mint(2)
    first = worker()
    signed(first)
    first.crash()
    scene.chain.wait(scene.chain.send_raw(KEEPER.private_key, to=ACCOUNTS[1].address, value_wei=1))
    worker().until(lambda: scene.revealed_once(tokens))
    assert [row.status for row in transactions()] == ["replaced", "confirmed"]
    assert [row.nonce for row in transactions()] == [0, 1]
    assert list(RevealBatch.objects.order_by("pk").values_list("status", flat=True)) == [
        "superseded",
        "confirmed",
    ]


def test_a_replacement_that_this_process_never_heard_of_is_found(
    worker: Start, scene: Scene
) -> None:
    """The drain before it signed one while it ended; only the table knows."""
    tokens = scene.mint()
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: statuses() == ["broadcast"])
    (old,) = transactions()
    fees = Fees(2 * int(old.max_fee_per_gas_wei), 2 * int(old.max_priority_fee_per_gas_wei))
    keeper = drain.drain.keeper  # type: ignore[attr-defined]
    new = outbox.store_replacement(keeper=keeper, old=old, fees=fees)
    scene.chain.w3.eth.send_raw_transaction(bytes(new.raw_transaction))
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert Token.objects.get().reveal_tx_hash == new.tx_hash
    assert statuses() == ["replaced", "confirmed"]


def test_equal_fees_give_the_stored_replacement(worker: Start, scene: Scene) -> None:
    scene.mint()
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: statuses() == ["broadcast"])
    (old,) = transactions()
    fees = Fees(2 * int(old.max_fee_per_gas_wei), 2 * int(old.max_priority_fee_per_gas_wei))
    keeper = drain.drain.keeper  # type: ignore[attr-defined]
    made = [outbox.store_replacement(keeper=keeper, old=old, fees=fees) for _ in range(2)]
    assert made[0] == made[1]
    assert len(transactions()) == 2


def test_a_reveal_that_reverts_frees_the_tokens_and_pauses(worker: Start, scene: Scene) -> None:
    """Somebody reveals one of them while our transaction waits in the pool."""
    foreign, *good = scene.mint(3)
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: len(scene.pool()) == 1)
    data = encode_reveal([foreign.token_id], ["ipfs://other"])
    better = {"maxPriorityFeePerGas": hex(GWEI), "maxFeePerGas": hex(9 * GWEI), "gas": hex(300_000)}
    sender, contract = ACCOUNTS[0].address, scene.chain.contract.address
    scene.chain.rpc("eth_sendTransaction", {"from": sender, "to": contract, "data": data, **better})
    scene.chain.mine()
    drain.until(lambda: statuses()[:1] == ["reverted"])
    assert {t.error_class for t in Token.objects.all()} == {"reverted"}
    scene.chain.set_automine(True)
    drain.until(lambda: scene.revealed_once(good))
    drain.until(is_failed(foreign))
    foreign.refresh_from_db()
    assert foreign.error_class == "already_revealed"
    assert statuses() == ["reverted", "confirmed"]
    assert transactions()[0].gas_used is not None
    assert transactions()[0].error == f"Reverted: AlreadyRevealed({foreign.token_id})"


def are_mined(hashes: list[str]) -> bool:
    rows = RevealTransaction.objects.filter(tx_hash__in=hashes, block_number__isnull=False)
    return rows.count() == len(hashes)


def test_a_token_that_reverts_only_when_mined_gets_to_be_alone_and_fails(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every simulation is good; the others are revealed, in smaller and smaller batches."""
    monkeypatch.setattr(settlement, "REVERT_WAIT_SECONDS", 0.0)
    bad, *good = scene.mint(5)
    scene.chain.set_automine(False)
    drain = worker()
    for _ in range(20):
        drain.until(lambda: scene.pool() or Token.objects.filter(status="failed").exists())
        if Token.objects.filter(status=TokenStatus.FAILED).exists():
            break
        sent = scene.pool()
        scene.jam(bad.token_id)
        scene.chain.mine()
        scene.jam(bad.token_id, jammed=False)
        drain.until(lambda sent=sent: are_mined(sent))  # type: ignore[misc]
    scene.chain.set_automine(True)
    drain.until(lambda: scene.revealed_once(good))
    bad.refresh_from_db()
    assert (bad.status, bad.error_class) == (TokenStatus.FAILED, "reverted")
    reverted = [row for row in transactions() if row.status == "reverted"]
    assert [len(row.token_ids) for row in reverted] == [5, 5, 2, 1]
    assert not scene.chain.is_revealed(bad.token_id)


def test_a_new_keeper_leaves_the_old_ones_transactions_alone(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    """The old keeper has spent more nonces; that says nothing of the new one's."""
    new_keeper = ACCOUNTS[6]
    scene.chain.wait(scene.chain.send(0, "grantRole", KEEPER_ROLE, new_keeper.address))
    for _ in range(3):
        scene.chain.wait(scene.chain.send_raw(9, to=ACCOUNTS[1].address, value_wei=1))
    old_tokens, new_tokens = scene.mint(), scene.mint()
    Token.objects.filter(pk=new_tokens[0].pk).update(next_attempt_at="2090-01-01T00:00Z")
    scene.chain.set_automine(False)
    first = worker()
    first.until(lambda: statuses() == ["broadcast"])
    first.stop()
    settings.KEEPER_PRIVATE_KEY = new_keeper.private_key
    second = worker()
    Token.objects.filter(pk=new_tokens[0].pk).update(next_attempt_at=None)
    second.until(lambda: len(transactions()) == 2)
    second.settle(0.6)
    assert sorted((row.keeper, row.nonce) for row in transactions()) == sorted(
        [(KEEPER.address, 3), (new_keeper.address, 0)]
    )
    scene.chain.mine()
    second.until(lambda: scene.revealed_once([*old_tokens, *new_tokens]))
    assert statuses() == ["confirmed", "confirmed"]


@pytest.mark.parametrize("lost", ["its role", "its funds"])
def test_what_a_former_keeper_cannot_send_goes_with_the_new_one(
    worker: Start, scene: Scene, settings: Settings, lost: str
) -> None:
    settings.REVEAL_MAX_IN_FLIGHT = 1
    new_keeper = ACCOUNTS[6]
    scene.chain.wait(scene.chain.send(0, "grantRole", KEEPER_ROLE, new_keeper.address))
    old, other = scene.mint(2)
    Token.objects.filter(pk=other.pk).update(next_attempt_at="2090-01-01T00:00Z")
    first = worker()
    signed(first)
    first.crash()
    if lost == "its role":
        scene.chain.wait(scene.chain.send(0, "revokeRole", KEEPER_ROLE, KEEPER.address))
    else:
        scene.chain.set_balance(KEEPER.address, 1)
    settings.KEEPER_PRIVATE_KEY = new_keeper.private_key
    second = worker()
    Token.objects.filter(pk=other.pk).update(next_attempt_at=None)
    second.until(lambda: scene.revealed_once([other]))
    assert breaker_reason() == ""
    second.settle(0.5)
    assert not scene.chain.is_revealed(old.token_id)  # it still has its chance
    settings.TRANSACTION_TIMEOUT_SECONDS = 0
    second.until(lambda: scene.revealed_once([old, other]))
    second.until(lambda: sorted(statuses()) == ["confirmed", "confirmed", "replaced"])
    assert "keeper was changed" in transactions()[0].error


def test_a_former_keepers_transaction_may_be_mined_after_all(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    """It was given up, and lay in somebody's pool."""
    new_keeper = ACCOUNTS[6]
    scene.chain.wait(scene.chain.send(0, "grantRole", KEEPER_ROLE, new_keeper.address))
    tokens = scene.mint(2)
    first = worker()
    row = signed(first)
    first.crash()
    settings.KEEPER_PRIVATE_KEY = new_keeper.private_key
    settings.TRANSACTION_TIMEOUT_SECONDS = 0
    scene.chain.set_balance(KEEPER.address, 1)
    second = worker()
    Token.objects.update(held_at=timezone.now(), hold_reason="a look")
    second.until(lambda: statuses() == ["replaced"])
    scene.chain.set_balance(KEEPER.address, 10**18)
    scene.chain.rpc("eth_sendRawTransaction", "0x" + bytes(row.raw_transaction).hex())
    Token.objects.update(held_at=None, hold_reason="")
    second.until(lambda: scene.revealed_once(tokens))
    second.until(lambda: statuses() == ["confirmed"])


# -- node, funds, price ----------------------------------------------------------------------


def test_while_the_node_is_down_tokens_wait(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    tokens = scene.mint(2)
    right, settings.RPC_URL = settings.RPC_URL, f"http://127.0.0.1:{free_port()}"
    first = worker()
    first.until(is_held_back)
    assert "did not reach" in breaker_reason()
    assert Token.objects.filter(status=TokenStatus.READY).count() == 2
    first.stop()
    settings.RPC_URL = right
    worker().until(lambda: scene.revealed_once(tokens))


def test_a_node_that_goes_away_with_transactions_in_flight(worker: Start, scene: Scene) -> None:
    tokens = scene.mint(2)
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: statuses() == ["broadcast"])
    chain: ChainClient = drain.drain.chain  # type: ignore[attr-defined]
    reachable = chain.rpc
    drain.drain.chain = ChainClient(  # type: ignore[attr-defined]
        type(reachable)(f"http://127.0.0.1:{free_port()}"),
        contract_address=chain.contract_address,
    )
    drain.settle(0.4)
    assert statuses() == ["broadcast"]
    drain.drain.chain = chain  # type: ignore[attr-defined]
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))


def test_without_funds_nothing_is_signed_until_there_are_some(worker: Start, scene: Scene) -> None:
    scene.chain.set_balance(KEEPER.address, 1)
    tokens = scene.mint()
    drain = worker()
    drain.until(is_held_back)
    assert "Send it some" in breaker_reason()
    drain.settle(0.4)
    assert transactions() == []
    scene.chain.set_balance(KEEPER.address, 10**18)
    drain.until(lambda: scene.revealed_once(tokens))


def most_wei(tokens: int) -> int:
    """What a batch of so many may cost at most, about."""
    history = ChainClient.from_settings().fee_history(percentile=50)
    fees = choose_fees(history, ceiling_wei=configured_ceiling_wei())
    return int(tokens * 110_000 * fees.max_fee_per_gas_wei)


def test_what_the_keeper_can_pay_for_goes_the_rest_after_a_top_up(
    worker: Start, scene: Scene
) -> None:
    tokens = scene.mint(8)
    scene.chain.set_balance(KEEPER.address, most_wei(5))
    drain = worker()
    drain.until(is_held_back)
    assert len(transactions()[0].token_ids) in range(2, 6)
    assert "Send it some" in breaker_reason()
    assert Token.objects.filter(status=TokenStatus.READY).exists()
    drain.until(lambda: set(statuses()) == {"confirmed"})
    scene.chain.set_balance(KEEPER.address, 10**18)
    drain.until(lambda: scene.revealed_once(tokens))


def test_what_is_in_flight_may_use_up_the_balance(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    """Nothing is signed that the node would refuse, and nobody is called for."""
    settings.BATCH_REVEAL_MAX_TOKENS = 2
    tokens = scene.mint(4)
    scene.chain.set_balance(KEEPER.address, most_wei(4))
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: statuses() == ["broadcast"])
    drain.settle(0.5)
    assert len(transactions()) == 1
    assert breaker_reason() == ""
    scene.chain.set_balance(KEEPER.address, 10**18)
    drain.until(lambda: len(scene.pool()) == 2)
    scene.chain.set_automine(True)
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))


def test_funds_that_are_gone_at_the_broadcast_are_waited_for(worker: Start, scene: Scene) -> None:
    tokens = scene.mint()
    first = worker()
    signed(first)
    first.crash()
    scene.chain.set_balance(KEEPER.address, 1)
    second = worker()
    second.until(lambda: "Send it some" in breaker_reason())
    second.settle(0.3)
    assert statuses() == ["signed"]
    scene.chain.set_balance(KEEPER.address, 10**18)
    second.until(lambda: scene.revealed_once(tokens))
    assert len(transactions()) == 1


def test_above_the_ceiling_tokens_wait_and_the_reason_is_known(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.REVEAL_MAX_GAS_PRICE_GWEI = 0.000001
    tokens = scene.mint()
    drain = worker()
    drain.until(is_held_back)
    assert "REVEAL_MAX_GAS_PRICE_GWEI" in breaker_reason()
    drain.settle(0.3)
    assert transactions() == []
    settings.REVEAL_MAX_GAS_PRICE_GWEI = 10.0
    drain.until(lambda: scene.revealed_once(tokens))


def test_a_reorg_before_the_confirmations_takes_nothing_for_granted(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.REVEAL_CONFIRMATIONS = 3
    tokens = scene.mint()
    scene.chain.mine(3)
    drain = worker()
    drain.until(lambda: scene.chain.is_revealed(tokens[0].token_id))
    scene.chain.reorg(1)
    assert not scene.chain.is_revealed(tokens[0].token_id)
    drain.until(lambda: scene.chain.is_revealed(tokens[0].token_id))
    scene.chain.mine(3)
    drain.until(lambda: scene.revealed_once(tokens))
    assert len(transactions()) == 1


def test_the_key_shows_nowhere(
    worker: Start, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = scene.mint()
    drain = worker()
    drain.until(lambda: scene.revealed_once(tokens))
    key = KEEPER.private_key.removeprefix("0x")
    assert Account.from_key(key).address == KEEPER.address
    assert key not in caplog.text.lower()
    assert key not in repr(vars(drain.drain)).lower()
