"""What nodes say of a transaction, in their own words."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from glisk.clients.chain import ChainClient, RevertError, RpcClient, RpcError
from glisk.errors import InvalidRequestError, ProviderError, TransientError
from glisk.tests.clients.scripted_server import ScriptedServer, Step, answer, hang_up
from reveals.pipeline.send import Send, Sending, Verdict, broadcast, classify

WORDINGS = {
    Verdict.ACCEPTED: (
        "already known",  # geth
        "known transaction: 0xab",  # geth before 1.9
        "transaction already imported",  # anvil
        "existing tx with same hash",  # erigon
        "AlreadyKnown",  # Nethermind
        "TRANSACTION_ALREADY_KNOWN",  # Besu
        "Transaction is already in mempool",
    ),
    Verdict.NONCE_SPENT: (
        "nonce too low: next nonce 4, tx nonce 3",  # geth, reth
        "transaction nonce is too low",  # anvil
        "[-32000] Nonce too low",  # Alchemy
        "OldNonce, Current nonce: 4, nonce of rejected tx: 3",  # Nethermind
        "the nonce has already been used",
        "stale nonce",
    ),
    Verdict.UNDERPRICED: (
        "replacement transaction underpriced",  # geth
        "transaction underpriced: gas tip cap 0, minimum needed 1000000",
        "max fee per gas less than block base fee: address 0x12, maxFeePerGas: 1, baseFee: 7",
        "INTERNAL_ERROR: could not replace existing tx",  # erigon
        "fee too low",
        "transaction priority fee below minimum required priority fee 1000000",  # reth
        "insufficient gas price to replace existing transaction",
        "FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 7, BaseFee: 9",  # Nethermind
        "FeeTooLowToCompete",
        "ReplacementNotAllowed",
        "Gas price below configured minimum gas price",  # Besu
        "a transaction with nonce 3 is already in the pool, replacement fee too low",
        "fee too low; the account's balance is 7",
    ),
    Verdict.NO_FUNDS: (
        "insufficient funds for gas * price + value: balance 0, tx cost 9, overshot 9",  # geth
        "InsufficientFunds, Account balance: 1, cumulative cost: 5",  # Nethermind
        "Upfront cost exceeds account balance",  # Besu
        "sender doesn't have enough funds to send tx",
        "the account's balance does not cover gas * fee",
        "low balance",
    ),
    None: (
        "upstream load balancer: slow down",
        "more than the load balancer allows",
        "the price was not understood",
        "tx fee (2.00 ether) exceeds the configured cap (1.00 ether)",
        "max priority fee per gas higher than max fee per gas",
        "intrinsic gas too low: gas 21000, minimum needed 53000",
        "nonce too high",
        "nonce gap, lowest missing: 5",
        "NonceTooFarInFuture",
        "txpool is full",
        "GasLimitExceeded, Gas limit: 5, gas limit of rejected tx: 9",
        "exceeds maximum per-transaction gas limit",
        "",
    ),
}


def test_a_nodes_words() -> None:
    for verdict, messages in WORDINGS.items():
        for message in messages:
            assert classify(message) is verdict, message


@pytest.fixture
def node() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


def _chain(node: ScriptedServer) -> ChainClient:
    return ChainClient(RpcClient(node.url), contract_address="0x" + "11" * 20)


def _refusal(message: str, status: int = 200) -> Step:
    error = {"code": -32000, "message": message}
    return answer(status, {"jsonrpc": "2.0", "id": 1, "error": error})


def test_accepted_bytes_were_sent_as_they_are(node: ScriptedServer) -> None:
    node.script(answer(200, {"jsonrpc": "2.0", "id": 1, "result": "0xaa"}))
    assert broadcast(_chain(node), b"\x02\xff") is Verdict.ACCEPTED
    assert node.requests[0].json["method"] == "eth_sendRawTransaction"
    assert node.requests[0].json["params"] == ["0x02ff"]


@pytest.mark.parametrize("status", [200, 400])
def test_a_known_refusal_is_a_verdict(node: ScriptedServer, status: int) -> None:
    node.script(_refusal("nonce too low: next nonce 4, tx nonce 3", status))
    assert broadcast(_chain(node), b"\x02") is Verdict.NONCE_SPENT


def test_an_unknown_refusal_is_an_error(node: ScriptedServer) -> None:
    node.script(_refusal("intrinsic gas too low"))
    with pytest.raises(RpcError, match="intrinsic gas too low"):
        broadcast(_chain(node), b"\x02")


def test_no_answer_says_nothing(node: ScriptedServer) -> None:
    node.script(hang_up())
    with pytest.raises(TransientError):
        broadcast(_chain(node), b"\x02")
    # Not even if the words of a refusal stand in a gateway's error page.
    node.script(answer(503, "nonce too low"))
    with pytest.raises(TransientError):
        broadcast(_chain(node), b"\x02")


@pytest.mark.parametrize(
    "error",
    [
        RpcError(-32000, "not today", "eth_sendRawTransaction"),
        RevertError("chain: not today", data=""),
        InvalidRequestError("chain: not today", vendor="chain"),
        TransientError("chain: not today", vendor="chain"),
    ],
    ids=lambda error: error.error_class,
)
def test_only_a_refusal_of_the_transaction_itself_is_held_against_it(error: ProviderError) -> None:
    def refuse(raw: bytes) -> None:
        raise error

    step: Any = SimpleNamespace(chain=SimpleNamespace(send_raw_transaction=refuse))
    batch: Any = SimpleNamespace(newest=SimpleNamespace(token_ids=[7]))
    work = Sending(batch, raw=b"\x02", claimed_at=timezone.now())
    if isinstance(error, TransientError):
        with pytest.raises(TransientError):
            Send.call(step, work)
        return
    sent = Send.call(step, work)
    assert "not today" in sent.refusal
    assert (sent.verdict, sent.token_ids) == (None, [7])
