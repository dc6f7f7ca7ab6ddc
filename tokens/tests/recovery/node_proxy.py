"""A real node by way of a provider that a test lets answer as bad ones do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from sandbox import faulty_rpc
from sandbox.http import json_response

# (method, parameters, the node's answer) → the answer that is given, or DROP.
Alter = Callable[[str, list[Any], dict[str, Any]], Any]
DROP = object()


class HttpAnswer(Exception):
    """Raised instead of an answer: the whole request gets this status and body."""

    def __init__(self, status: int, body: Any) -> None:
        self.status, self.body = status, body


class NodeProxy(faulty_rpc.NodeProxy):
    def __init__(self, node_url: str) -> None:
        super().__init__(node_url)
        self.requests: list[list[str]] = []  # the methods of each HTTP request
        self.log_ranges: list[tuple[int, int]] = []
        self.calm()

    def calm(self) -> None:
        """Answer as the node does, and forget what was asked."""
        self.alter: Alter = lambda method, params, answer: answer
        self.requests.clear()
        self.log_ranges.clear()

    async def pass_on(self, request: web.Request) -> web.Response:
        asked = await request.json()
        calls = asked if isinstance(asked, list) else [asked]
        self.requests.append([call["method"] for call in calls])
        for call in calls:
            if call["method"] == "eth_getLogs":
                options = call["params"][0]
                self.log_ranges.append((int(options["fromBlock"], 16), int(options["toBlock"], 16)))
        answers = json.loads(await self.ask(json.dumps(calls).encode()))
        by_id = {answer["id"]: answer for answer in answers}
        try:
            altered = [self.alter(c["method"], c["params"], by_id[c["id"]]) for c in calls]
        except HttpAnswer as other:
            return json_response(other.body, other.status)
        given = [answer for answer in altered if answer is not DROP]
        return json_response(given if isinstance(asked, list) else given[0])


def no_logs_at_all(method: str, params: list[Any], answer: dict[str, Any]) -> Any:
    """Refuse every call for logs, as nodes that keep none do."""
    refusal = {"code": -32601, "message": "the method eth_getLogs is not available"}
    if method != "eth_getLogs":
        return answer
    return {"jsonrpc": "2.0", "id": answer["id"], "error": refusal}


def without_logs(method: str, params: list[Any], answer: dict[str, Any]) -> Any:
    """Know no log, and say so without shame."""
    return {**answer, "result": []} if method == "eth_getLogs" else answer
