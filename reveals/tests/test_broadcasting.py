"""What nodes say of a transaction, in their own words."""

from collections.abc import Iterator

import pytest

from glisk.clients.chain import ChainClient, RpcClient, RpcError
from glisk.errors import TransientError
from glisk.tests.clients.scripted_server import ScriptedServer, Step, answer, hang_up
from reveals.pipeline.send import Verdict, broadcast, classify

WORDINGS = [
    # geth: core/txpool/errors.go, core/error.go
    ("already known", Verdict.ACCEPTED),
    ("nonce too low", Verdict.NONCE_SPENT),
    ("nonce too low: next nonce 4, tx nonce 3", Verdict.NONCE_SPENT),
    ("replacement transaction underpriced", Verdict.UNDERPRICED),
    ("transaction underpriced", Verdict.UNDERPRICED),
    (
        "transaction underpriced: gas tip cap 0, minimum needed 1000000",
        Verdict.UNDERPRICED,
    ),
    (
        "max fee per gas less than block base fee: address 0x12, maxFeePerGas: 1, baseFee: 7",
        Verdict.UNDERPRICED,
    ),
    ("insufficient funds for gas * price + value", Verdict.NO_FUNDS),
    (
        "insufficient funds for gas * price + value: balance 0, tx cost 9, overshot 9",
        Verdict.NO_FUNDS,
    ),
    ("known transaction: 0xab", Verdict.ACCEPTED),  # geth before 1.9
    # reth, which Base runs
    (
        "insufficient funds for gas * price + value: have 1 want 21000000000000",
        Verdict.NO_FUNDS,
    ),
    ("max fee per gas less than block base fee", Verdict.UNDERPRICED),
    # anvil 1.7.1, measured
    ("transaction already imported", Verdict.ACCEPTED),
    ("Insufficient funds for gas * price + value", Verdict.NO_FUNDS),
    ("transaction nonce is too low", Verdict.NONCE_SPENT),
    # Alchemy
    ("ALREADY_EXISTS: already known", Verdict.ACCEPTED),
    ("[-32000] Nonce too low", Verdict.NONCE_SPENT),
    # erigon
    ("INTERNAL_ERROR: could not replace existing tx", Verdict.UNDERPRICED),
    ("existing tx with same hash", Verdict.ACCEPTED),
    ("fee too low", Verdict.UNDERPRICED),
    ("insufficient funds", Verdict.NO_FUNDS),
    # reth
    (
        "transaction priority fee below minimum required priority fee 1000000",
        Verdict.UNDERPRICED,
    ),
    ("insufficient gas price to replace existing transaction", Verdict.UNDERPRICED),
    # Nethermind: AcceptTxResult
    ("AlreadyKnown", Verdict.ACCEPTED),
    ("OldNonce, Current nonce: 4, nonce of rejected tx: 3", Verdict.NONCE_SPENT),
    ("FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 7, BaseFee: 9", Verdict.UNDERPRICED),
    ("FeeTooLowToCompete", Verdict.UNDERPRICED),
    ("ReplacementNotAllowed", Verdict.UNDERPRICED),
    ("InsufficientFunds, Account balance: 1, cumulative cost: 5", Verdict.NO_FUNDS),
    # Besu
    ("Upfront cost exceeds account balance", Verdict.NO_FUNDS),
    ("Gas price below configured minimum gas price", Verdict.UNDERPRICED),
    ("TRANSACTION_ALREADY_KNOWN", Verdict.ACCEPTED),
    # others, and wordings that nobody has seen yet
    ("sender doesn't have enough funds to send tx", Verdict.NO_FUNDS),
    ("the account's balance does not cover gas * fee", Verdict.NO_FUNDS),
    ("balance too low", Verdict.NO_FUNDS),
    ("the nonce has already been used", Verdict.NONCE_SPENT),
    ("tip of 5 wei is less than what this pool takes", Verdict.UNDERPRICED),
    ("minimum gas price not met", Verdict.UNDERPRICED),
    (
        "a transaction with nonce 3 is already in the pool, replacement fee too low",
        Verdict.UNDERPRICED,
    ),
    ("Transaction is already in mempool", Verdict.ACCEPTED),
    ("transaction nonce 5 is lower than the account's", Verdict.NONCE_SPENT),
    ("stale nonce", Verdict.NONCE_SPENT),
    ("low balance", Verdict.NO_FUNDS),
    ("fee too low; the account's balance is 7", Verdict.UNDERPRICED),
    # what nobody has a rule for
    ("upstream load balancer: slow down", None),
    ("the load balancer's time-out was exceeded", None),
    ("more than the load balancer allows", None),
    ("the price was not understood", None),
    ("tx fee (2.00 ether) exceeds the configured cap (1.00 ether)", None),
    ("max priority fee per gas higher than max fee per gas", None),
    ("intrinsic gas too low: gas 21000, minimum needed 53000", None),
    ("nonce too high", None),
    ("nonce gap, lowest missing: 5", None),
    ("nonce gap: expected 3, got 5", None),
    ("unknown transaction type", None),
    ("NonceTooFarInFuture", None),
    ("txpool is full", None),
    ("GasLimitExceeded, Gas limit: 5, gas limit of rejected tx: 9", None),
    ("intrinsic gas too low", None),
    ("exceeds maximum per-transaction gas limit", None),
    ("invalid sender", None),
    ("", None),
]


def test_a_nodes_words() -> None:
    for message, verdict in WORDINGS:
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
