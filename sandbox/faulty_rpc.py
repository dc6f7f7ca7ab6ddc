"""A proxy in front of the node that answers like a bad provider: lost, late, old, or never.

    with FaultyRpc(node.rpc_url) as proxy:
        proxy.lose_replies(3, "eth_sendRawTransaction")  # the node has them, the caller never hears
        proxy.lag()                                      # nothing newer than now is known
        proxy.refuse_sends("FeeTooLow", below_tip_wei=10**7)
        proxy.calm()

Chaos is for the program; whoever makes it talks to the node itself.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import web
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from sandbox.http import Emulator, Faults, hang_up, json_response
from sandbox.rpc import RpcClient

Call = dict[str, Any]
# The HTTP status and the body with which a batch of these calls is refused.
BatchRefusal = Callable[[list[Call]], tuple[int, Any]]
# How a call is refused: an HTTP status, code and message, or silence.
Refusal = int | tuple[int, str] | None


class NodeProxy(Emulator[Faults]):
    """A server between a program and its node; what becomes of a request says `pass_on`."""

    name = "node"
    faults_class = Faults

    def __init__(self, node_url: str) -> None:
        super().__init__()
        self._node_url = node_url

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/", self.pass_on)]

    async def pass_on(self, request: web.Request) -> web.Response:
        raise NotImplementedError

    async def ask(self, body: bytes) -> bytes:
        """Return the node's answer; raises `aiohttp.ClientError` while it is away."""
        headers = {"Content-Type": "application/json"}
        async with self._client.post(self._node_url, data=body, headers=headers) as answer:
            return await answer.read()


class FaultyRpc(NodeProxy):
    """The proxy; each switch holds until `calm`."""

    def __init__(self, node_url: str, *, seed: int = 0) -> None:
        super().__init__(node_url)
        self._random = random.Random(seed)
        self.batches: list[int] = []  # how many calls each request held
        self.log_widths: list[int] = []  # how many blocks each call for logs wanted
        self.seen: list[str] = []  # the methods, in order
        self.calm()

    # -- switches -----------------------------------------------------------------------

    def calm(self) -> None:
        """Answer as the node does again."""
        self._lost: dict[str, int] = {}
        self._loss_rate, self._swallowed = 0.0, 0
        self._receipts_after_seconds, self._first_asked = 0.0, dict[str, float]()
        self._head: int | None = None
        self._send_refusal: tuple[int, str, int | None] | None = None
        self._tip_wei: int | None = None
        self._batch_limit: tuple[int, BatchRefusal] | None = None
        self._log_limit: tuple[int, Refusal] | None = None
        self._hides_logs = False
        self._refused_methods: dict[str, Refusal] = {}
        self._l1_fee_wei: int | None = None

    def lose_replies(self, count: int, method: str) -> None:
        """Hand the next calls of a method to the node, and hang up instead of answering."""
        self._lost[method] = count

    def lose_some(self, rate: float) -> None:
        """Lose this share of all replies, after the node has done its work."""
        self._loss_rate = rate

    def swallow(self, count: int) -> None:
        """Answer the next broadcasts as accepted, and tell the node nothing of them."""
        self._swallowed = count

    def delay_receipts(self, seconds: float) -> None:
        """Know no receipt for so long after the first question; the nonces are known at once."""
        self._receipts_after_seconds, self._first_asked = seconds, {}

    def lag(self) -> None:
        """Know nothing that comes after this moment."""
        node = RpcClient(self._node_url)
        self._head = int(node.call("eth_blockNumber"), 16)
        node.close()

    def refuse_sends(
        self, message: str, *, code: int = -32000, below_tip_wei: int | None = None
    ) -> None:
        """Refuse transactions in these words: all, or those that offer a lower tip."""
        self._send_refusal = (code, message, below_tip_wei)

    def set_tips(self, wei: int) -> None:
        """Say that everybody has paid this tip per gas in the last blocks."""
        self._tip_wei = wei

    def limit_batches(self, most: int, refusal: BatchRefusal) -> None:
        """Refuse batches of more calls, see `refused_as_list` and the like."""
        self._batch_limit = (most, refusal)

    def limit_logs(self, most: int, refusal: Refusal) -> None:
        """Refuse the logs of more blocks, or say nothing to whoever wants them (None)."""
        self._log_limit = (most, refusal)

    def hide_logs(self) -> None:
        """Say that no block has any log."""
        self._hides_logs = True

    def refuse_calls(self, method: str, refusal: Refusal) -> None:
        """Refuse all calls of a method, or say nothing to whoever makes one (None)."""
        self._refused_methods = {**self._refused_methods, method: refusal}

    def tell_l1_fees(self, wei: int) -> None:
        """Say in every receipt that its data cost so much on Ethereum, as Base does."""
        self._l1_fee_wei = wei

    # -- one request ----------------------------------------------------------------------

    async def pass_on(self, request: web.Request) -> web.Response:
        asked = await request.json()
        calls: list[Call] = asked if isinstance(asked, list) else [asked]
        self.batches.append(len(calls))
        self.log_widths += [width for call in calls if (width := _width(call))]
        if any(self._refusal_of(call) is None for call in calls):
            while any(self._refusal_of(call) is None for call in calls):
                await asyncio.sleep(0.02)
            return hang_up(request)
        refusal = self._whole_refusal(asked, calls)
        if refusal is not None:
            return json_response(refusal[1], refusal[0])
        try:
            answers = [await self._answer_one(call) for call in calls]
        except aiohttp.ClientError:  # the node is away
            return hang_up(request)
        if self._loses(calls):
            return hang_up(request)
        return json_response(answers if isinstance(asked, list) else answers[0])

    async def _answer_one(self, call: Call) -> Call:
        if self._swallows(call):
            return {"jsonrpc": "2.0", "id": call.get("id"), "result": "0x" + "00" * 32}
        refusal = self._refusal(call)
        if refusal is not None:
            return {"jsonrpc": "2.0", "id": call.get("id"), "error": refusal}
        answer: Call = json.loads(await self.ask(json.dumps(self._rewritten(call)).encode()))
        if "result" in answer:
            answer["result"] = self._censored(call, answer["result"])
        return answer

    def _loses(self, calls: list[Call]) -> bool:
        """Decide whether the reply to these calls is lost."""
        methods = [str(call.get("method")) for call in calls]
        self.seen += methods
        for method in methods:
            if self._lost.get(method, 0):
                self._lost[method] -= 1
                return True
        return self._random.random() < self._loss_rate

    def _swallows(self, call: Call) -> bool:
        if call.get("method") != "eth_sendRawTransaction" or not self._swallowed:
            return False
        self._swallowed -= 1
        return True

    def _whole_refusal(self, asked: Any, calls: list[Call]) -> tuple[int, Any] | None:
        """Return status and body if a whole request is refused, or None."""
        for refusal in map(self._refusal_of, calls):
            if isinstance(refusal, int):
                return refusal, "upstream request timeout"
        if self._batch_limit is None or not isinstance(asked, list):
            return None
        most, refuse = self._batch_limit
        return refuse(calls) if len(calls) > most else None

    def _refusal_of(self, call: Call) -> Refusal | tuple[()]:
        """Return how a call is refused, or () if it is not."""
        most, refusal = self._log_limit or (0, None)
        if self._log_limit is not None and _width(call) > most:
            return refusal
        return self._refused_methods.get(str(call.get("method")), ())

    def _refusal(self, call: Call) -> Call | None:
        """Return the error that a call gets without being passed on, or None."""
        words = self._refusal_of(call)
        if isinstance(words, tuple) and words:
            return {"code": words[0], "message": words[1]}
        if call.get("method") != "eth_sendRawTransaction" or self._send_refusal is None:
            return None
        code, message, below_tip_wei = self._send_refusal
        if below_tip_wei is not None and _tip_wei(str(call["params"][0])) >= below_tip_wei:
            return None
        return {"code": code, "message": message}

    def _rewritten(self, call: Call) -> Call:
        """Ask for the head of a node that lags instead of the newest block."""
        head = self._head
        if head is None:
            return call
        params = [hex(head) if param == "latest" else param for param in call.get("params", [])]
        return {**call, "params": params}

    def _censored(self, call: Call, result: Any) -> Any:
        """Return what a bad node says where this one answered `result`."""
        method = call.get("method")
        if method == "eth_getLogs" and self._hides_logs:
            return []
        if method == "eth_getTransactionReceipt":
            if self._is_hidden(str(call["params"][0]), result):
                return None
            told = {} if self._l1_fee_wei is None else {"l1Fee": hex(self._l1_fee_wei)}
            return {**result, **told} if isinstance(result, dict) else result
        if method == "eth_feeHistory" and self._tip_wei is not None:
            return {**result, "reward": [[hex(self._tip_wei)]] * len(result["gasUsedRatio"])}
        number = result.get("number") if isinstance(result, dict) else None
        if method == "eth_getBlockByNumber" and self._is_beyond(number):
            return None
        return result

    def _is_hidden(self, tx_hash: str, receipt: Any) -> bool:
        if not isinstance(receipt, dict):
            return False
        since = self._first_asked.setdefault(tx_hash, time.monotonic())
        late = time.monotonic() - since < self._receipts_after_seconds
        return late or self._is_beyond(receipt.get("blockNumber"))

    def _is_beyond(self, number: Any) -> bool:
        head = self._head
        return head is not None and isinstance(number, str) and int(number, 16) > head


def refused_as_list(code: int, message: str, *, names_first: bool = False) -> BatchRefusal:
    """A list of one error, as geth does it; `names_first`: with the id of the first call."""
    return lambda calls: (200, [_error(code, message, calls[0]["id"] if names_first else None)])


def refused_as_object(code: int, message: str, *, status: int = 200) -> BatchRefusal:
    return lambda calls: (status, _error(code, message, None))


def refused_each(code: int, message: str) -> BatchRefusal:
    """The same error for each call."""
    return lambda calls: (200, [_error(code, message, call["id"]) for call in calls])


def refused_by_status(status: int) -> BatchRefusal:
    """An HTTP status with a body that is no JSON-RPC, as a proxy in front of the node does it."""
    return lambda calls: (status, "Request Entity Too Large")


def _width(call: Call) -> int:
    """Return how many blocks of logs a call wants; 0 if it wants none."""
    if call.get("method") != "eth_getLogs":
        return 0
    options = call["params"][0]
    return int(options["toBlock"], 16) - int(options["fromBlock"], 16) + 1


def _error(code: int, message: str, call_id: Any) -> Call:
    return {"jsonrpc": "2.0", "id": call_id, "error": {"code": code, "message": message}}


def _tip_wei(raw: str) -> int:
    transaction = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return int(str(transaction["maxPriorityFeePerGas"]), 0)
