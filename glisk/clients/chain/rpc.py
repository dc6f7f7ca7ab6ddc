"""JSON-RPC to an Ethereum node by web3.py: batches in which each member has its own fate.

web3.py's provider speaks over our own HTTP session. What stands above it is left aside: its batches
throw everything away when one member fails, and pair answers with calls by position; its formatters
cost ten times the call; `w3.eth.call` follows URLs that a contract names (CCIP-read).
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from django.conf import settings

from glisk.clients.chain.refusals import (
    VENDOR,
    WHOLE_BATCH,
    RevertError,
    RpcError,
    ok,
    read_error,
    read_fault,
)
from glisk.clients.http import HttpClient, HttpOptions
from glisk.errors import (
    AccountError,
    InvalidRequestError,
    ProviderError,
    TransientError,
    is_for_the_rate,
)
from glisk.logging.redaction import register_secret
from glisk.timing import timing

_MAX_REPLY_BYTES: Final = 50 * 1024 * 1024
CALLS_AT_ONCE: Final = 500  # in one HTTP request; Alchemy takes 1,000
_SMALL_BATCH: Final = 10  # a web request's, which cannot wait
_LEAST_A_SECOND: Final = 20  # calls that the smallest plan pays for
# So long is a size of batches kept that a node takes: what it refused may have been a bad moment.
_SIZE_KEPT_SECONDS: Final = 600.0
_NAMED_SIZE: Final = re.compile(
    r"\b(\d+) (?:calls|requests|items)|\b(?:max\w*|limit\w*|most|than|to)\W+(?:\w+\W+){0,3}?(\d+)\b"
)

Call = tuple[str, list[Any]]


class RpcClient:
    """Calls to one node. Thread-safe. Results are the raw JSON values."""

    def __init__(self, url: str, *, options: HttpOptions | None = None) -> None:
        """`options`: other timeouts than RPC_TIMEOUT_SECONDS and the HTTP_* settings."""
        parts = urlsplit(url)
        keys = [part for part in parts.path.split("/") if len(part) >= 16]
        keys += [value for _, value in parse_qsl(parts.query)]
        for secret in (*keys, unquote(parts.password or "")):
            register_secret(secret)
        self._http = HttpClient(
            vendor=VENDOR,
            base_url=url,
            options=options or HttpOptions.from_settings(longest=settings.RPC_TIMEOUT_SECONDS),
            read_fault=read_fault,
            max_bytes=_MAX_REPLY_BYTES,
        )
        from glisk.clients.chain.provider import Provider  # web3 takes a second of CPU to import

        self._provider = Provider(self._http.url(), self._http.session)
        self._batch_size = CALLS_AT_ONCE
        self._size_kept_until = 0.0  # monotonic
        self._taken = 0  # the size of the largest batch that was answered

    def call(self, method: str, *params: Any) -> Any:
        """Make one call; raise `RevertError`, `RpcError`, `TransientError` or `AccountError`."""
        # Sending the same signed bytes twice has no effect either: every call may be repeated.
        with self._http.failures(method, idempotent=True):
            reply: Any = self._provider.make_request(method, list(params))
        return ok(_answer(reply, method))

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Make many calls; return results in order, a `ProviderError` in place of a failed one.

        Members of a long batch that were refused for their rate are asked for again, as long as
        each second brings some more. Raises only if the whole request failed.
        """
        results = self._parts(calls)
        if len(calls) <= _SMALL_BATCH:
            return results
        asked: Sequence[int] = range(len(calls))
        for _ in range(2 + len(calls) // _LEAST_A_SECOND):
            refused = [n for n in asked if is_for_the_rate(results[n])]
            if not 0 < len(refused) < len(asked):
                break
            time.sleep(timing.node_budget)
            try:
                again = self._parts([calls[n] for n in refused])
            except TransientError:
                break  # what was answered stays answered
            for n, result in zip(refused, again, strict=True):
                results[n] = result
            asked = refused
        return results

    def _parts(self, calls: Sequence[Call]) -> list[Any]:
        """Send the calls in batches of a size that the node takes, and remember that size.

        Nodes refuse a batch that is too large for them in many ways, so a batch that was refused
        as a whole, and not for the account or the rate, is sent again in parts: of the size that
        the refusal names, or else by half, down to single calls. One that is no larger than what
        was taken before met a bad moment: its size is believed the second time only.
        """
        if time.monotonic() >= self._size_kept_until:
            self._batch_size = CALLS_AT_ONCE
        results: list[Any] = []
        size, refusal, refused_size = self._batch_size, None, 0
        while len(results) < len(calls):
            part = calls[len(results) : len(results) + size]
            try:
                results += [self._single(part[0], refusal)] if size == 1 else self._batch(part)
                self._taken = max(self._taken, min(size, len(part)))
                if size == 1 and is_for_the_rate(results[-1]):  # so would be all others
                    results += [results[-1]] * (len(calls) - len(results))
            except _BatchRefusedError as refused:
                refusal, refused_size = refused.error, len(part)
                size = _smaller(len(part), refusal)
        # A refusal of one call by itself says nothing about batches, nor does one of the rate.
        answered = [result for result in results if not is_for_the_rate(result)]
        by_itself = not answered or any(
            isinstance(result, RpcError | InvalidRequestError) for result in answered
        )
        if refusal is None or (size == 1 and by_itself):
            return results
        if refused_size <= self._taken:
            self._taken = 0
        else:
            self._batch_size = size
            self._size_kept_until = time.monotonic() + _SIZE_KEPT_SECONDS
        return results

    def _single(self, call: Call, refusal: ProviderError | None) -> Any:
        """Make one call of a batch; raise the refusal of the batch if it is the call's as well."""
        method, params = call
        try:
            return self.call(method, *params)
        except (RpcError, RevertError, InvalidRequestError, TransientError) as error:
            is_the_calls = refusal is None or error.said != refusal.said
            if error.rate_limited or (is_the_calls and not isinstance(error, TransientError)):
                return error
            raise

    def _batch(self, calls: Sequence[Call]) -> list[Any]:
        try:
            with self._http.failures(f"{len(calls)} calls", idempotent=True):
                reply = self._provider.make_batch_request(calls)
            if isinstance(reply, dict):
                ok(_answer(reply, WHOLE_BATCH))
        except (RpcError, RevertError, InvalidRequestError) as error:
            if "block" in str(error).lower() and any(m == "eth_getLogs" for m, _ in calls):
                raise  # for the range of one of them
            raise _BatchRefusedError(error) from None
        except (AccountError, TransientError) as error:
            if "batch" in str(error).lower():  # "Batch of more than 3 requests …", with a 403
                raise _BatchRefusedError(error) from None
            raise
        if not isinstance(reply, list):
            raise TransientError("chain: the calls got no list as answer", vendor=VENDOR)
        members = [member for member in reply if isinstance(member, dict)]
        if refused := _whole_refusal(members, len(calls)):
            raise _BatchRefusedError(refused)
        by_id = {m["id"]: m for m in members if isinstance(m.get("id"), int)}
        return [_answer(by_id.get(index), method) for index, (method, _) in enumerate(calls)]


class _BatchRefusedError(Exception):
    """The node takes no batch of this size, or not these calls together; `error` says why."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(str(error))
        self.error = error


def _smaller(size: int, refusal: ProviderError) -> int:
    """Return how many calls to send instead: as many as the refusal names, or half."""
    named = [int(a or b) for a, b in _NAMED_SIZE.findall(str(refusal).lower())]
    return max((number for number in named if 1 < number < size), default=max(1, size // 2))


def _whole_refusal(members: Sequence[dict[str, Any]], calls: int) -> ProviderError | None:
    """Return the error that stands for all calls: alone in the list, or of a batch by its words.

    Raises it if it is one of the account or the rate.
    """
    errors = [member["error"] for member in members if member.get("error") is not None]
    if calls == 1 or not errors or len(errors) < len(members):
        return None
    error = read_error(errors[0], WHOLE_BATCH)
    if "batch" in str(errors[0]).lower():
        return error
    if len(errors) > 1:
        return None
    if isinstance(error, AccountError | TransientError):
        raise error
    return error


def _answer(reply: Any, method: str) -> Any:
    if not isinstance(reply, dict):
        return TransientError(f"chain: {method} got no JSON-RPC answer", vendor=VENDOR)
    error = reply.get("error")
    return reply.get("result") if error is None else read_error(error, method)
