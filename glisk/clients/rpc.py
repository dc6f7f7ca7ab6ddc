"""JSON-RPC 2.0 to an Ethereum node: batches in one round trip, each member with its own fate.

web3.py is not used here: its batches throw everything away when one member fails, its retries
re-send transactions by themselves, and its errors carry the URL with the API key. Error forms:
https://docs.alchemy.com/reference/error-reference, geth, reth and anvil (measured).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from glisk.clients.http import HttpClient, HttpOptions
from glisk.clients.http_faults import Fault, Reply, bad_reply
from glisk.errors import AccountError, PermanentError, ProviderError, TransientError
from glisk.foreign_json import loads
from glisk.redaction import register_secret

VENDOR: Final = "chain"
_MAX_REPLY_BYTES: Final = 50 * 1024 * 1024
_TOO_MANY_CALLS: Final = -32014  # Base's public node: "maximum 10 calls in 1 batch"
_SMALL_BATCH: Final = 10
# A plan's budget is refilled every second, and may pay for less than one batch (Alchemy's free
# plan: 500 units, an eth_call costs 26): the members that it refused are asked for again.
_BUDGET_SECONDS: Final = 1.0
_MOST_REFILLS: Final = 25

# Codes and texts (in lower case) of refusals that pass by themselves.
_RATE_CODES: Final = frozenset({429, -32005, -32016})
_RATE_TEXTS: Final = ("rate limit", "compute units per second", "too many requests")
_ACCOUNT_TEXTS: Final = ("must be authenticated", "monthly capacity", "app is inactive")


class RevertError(PermanentError):
    """A call would revert; `data` is the contract's answer: selector and arguments, hex."""

    error_class = "revert"

    def __init__(self, message: str, *, data: str) -> None:
        super().__init__(message, vendor=VENDOR, code="revert")
        self.data = data


class RpcError(PermanentError):
    """The node refused one call; `rpc_code` is the JSON-RPC code, `rpc_message` its text."""

    error_class = "rpc"

    def __init__(self, rpc_code: int, rpc_message: str, method: str) -> None:
        super().__init__(
            f"chain: {method} was refused ({rpc_code}): {rpc_message}",
            vendor=VENDOR,
            code=str(rpc_code),
        )
        self.rpc_code, self.rpc_message = rpc_code, rpc_message


Call = tuple[str, list[Any]]


class RpcClient:
    """Calls to one node. Thread-safe. Results are the raw JSON values."""

    def __init__(self, url: str, *, options: HttpOptions | None = None, batch_size: int = 500):
        """`batch_size`: calls in one HTTP request at most (Alchemy takes 1,000)."""
        parts = urlsplit(url)
        for part in parts.path.split("/"):
            if len(part) >= 16:
                register_secret(part)
        for secret in (
            unquote(parts.password or ""),
            *(value for _, value in parse_qsl(parts.query)),
        ):
            register_secret(secret)
        self._http = HttpClient(
            vendor=VENDOR, base_url=url, options=options, read_fault=_read_fault
        )
        self._batch_size = batch_size

    @classmethod
    def from_settings(cls, url: str = "") -> Self:
        """Build the client of RPC_URL, or of another node under the same timeouts."""
        from django.conf import settings

        options = HttpOptions(
            connect_timeout_seconds=settings.HTTP_CONNECT_TIMEOUT_SECONDS,
            read_timeout_seconds=settings.RPC_TIMEOUT_SECONDS,
            pool_size=settings.HTTP_POOL_SIZE,
        )
        return cls(url or settings.RPC_URL, options=options)

    def call(self, method: str, *params: Any) -> Any:
        """Make one call; raise `RevertError`, `RpcError`, `TransientError` or `AccountError`."""
        reply = self._post(
            {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}, method
        )
        if not isinstance(reply, dict):
            raise TransientError(f"chain: {method} got no JSON-RPC answer", vendor=VENDOR)
        return _result(reply, method)

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Make many calls; return results in order, a `ProviderError` in place of a failed one.

        Members of a long batch that were refused for their rate are asked for again, as long as
        each second brings some more. Raises only if the whole request failed.
        """
        results = self._parts(calls)
        if len(calls) > _SMALL_BATCH:  # a short one is a web request's, which cannot wait
            self._ask_refused_again(calls, results)
        return results

    def _ask_refused_again(self, calls: Sequence[Call], results: list[Any]) -> None:
        refused = [n for n, result in enumerate(results) if _is_rate_limited(result)]
        was = len(calls)
        for _ in range(_MOST_REFILLS):
            if not 0 < len(refused) < was:
                return
            time.sleep(_BUDGET_SECONDS)
            try:
                again = self._parts([calls[n] for n in refused])
            except TransientError:
                return  # what was answered stays answered
            for n, result in zip(refused, again, strict=True):
                results[n] = result
            was, refused = len(refused), [n for n in refused if _is_rate_limited(results[n])]

    def _parts(self, calls: Sequence[Call]) -> list[Any]:
        results: list[Any] = []
        while len(results) < len(calls):  # the size may sink while the parts are sent
            start = len(results)
            results += self._batch(calls[start : start + self._batch_size])
        return results

    def batch_all(self, calls: Sequence[Call]) -> list[Any]:
        """Like `batch`, but raise the first failure instead of returning it."""
        results = self.batch(calls)
        for result in results:
            if isinstance(result, ProviderError):
                raise result
        return results

    def _batch(self, calls: Sequence[Call]) -> list[Any]:
        payload = [
            {"jsonrpc": "2.0", "id": index, "method": method, "params": params}
            for index, (method, params) in enumerate(calls)
        ]
        reply = self._post(payload, f"a batch of {len(calls)} calls")
        if isinstance(reply, dict):
            error = reply.get("error")
            too_many = isinstance(error, dict) and error.get("code") == _TOO_MANY_CALLS
            if too_many and len(calls) > _SMALL_BATCH:
                self._batch_size = _SMALL_BATCH
                return self._parts(calls)
            _result(reply, "batch")
        if not isinstance(reply, list):
            raise TransientError("chain: the batch got no list as answer", vendor=VENDOR)
        members = [member for member in reply if isinstance(member, dict)]
        by_id = {m["id"]: m for m in members if isinstance(m.get("id"), int)}
        return [_outcome(by_id.get(index), method) for index, (method, _) in enumerate(calls)]

    def _post(self, payload: Any, what: str) -> Any:
        # Sending the same signed bytes twice has no effect either: every call may be repeated.
        reply = self._http.call(
            "POST", "", idempotent=True, json_body=payload, max_bytes=_MAX_REPLY_BYTES
        )
        try:
            return loads(reply.body)
        except ValueError:
            raise bad_reply(VENDOR, what, reply, idempotent=True, why="no JSON") from None


def _outcome(member: dict[str, Any] | None, method: str) -> Any:
    if member is None:
        return TransientError(f"chain: {method} is missing in the batch's answer", vendor=VENDOR)
    try:
        return _result(member, method)
    except ProviderError as error:
        return error


def _is_rate_limited(result: Any) -> bool:
    return isinstance(result, TransientError) and result.rate_limited


def _result(reply: dict[str, Any], method: str) -> Any:
    error = reply.get("error")
    if error is None:
        return reply.get("result")
    raise _error(error if isinstance(error, dict) else {"message": str(error)}, method)


def _error(error: dict[str, Any], method: str) -> ProviderError:
    code, message = error.get("code"), str(error.get("message", ""))
    code = code if isinstance(code, int) else 0
    lowered = message.lower()
    data = error.get("data")
    if code == 3 or "execution reverted" in lowered:
        return RevertError(
            f"chain: {method} reverts: {message}", data=data if isinstance(data, str) else ""
        )
    if code in _RATE_CODES or any(text in lowered for text in _RATE_TEXTS):
        return TransientError(f"chain: rate limit: {message}", vendor=VENDOR, rate_limited=True)
    if any(text in lowered for text in _ACCOUNT_TEXTS):
        return AccountError(f"chain: {message}. Check the RPC key.", vendor=VENDOR)
    return RpcError(code, message, method)


def _read_fault(reply: Reply) -> Fault:
    """Read a JSON-RPC error that came with an HTTP error status."""
    error = (reply.json_object() or {}).get("error")
    message = error.get("message") if isinstance(error, dict) else None
    text = message if isinstance(message, str) else reply.excerpt()
    kind: type[ProviderError] | None = None
    if any(known in text.lower() for known in _ACCOUNT_TEXTS):
        kind = AccountError
    return Fault(detail=text, kind=kind)
