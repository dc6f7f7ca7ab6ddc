"""Emulate an Alchemy webhook of type GRAPHQL ("Custom"): a notification per block with our logs."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from sandbox.accounts import CONTRACT_ADDRESS
from sandbox.http import Emulator, Faults
from sandbox.rpc import ChainWatcher, Header, RpcClient

BATCH_MINTED_TOPIC = "0x20c0d4a5bab7118059cf1d2fd0403c4f29a05e446d435b347f90b80778374c54"
SANDBOX_SIGNING_KEY = "whsec_sandbox_alchemy"
SANDBOX_WEBHOOK_ID = "wh_sandbox"
SEQUENCE_BASE = 10_000_000_000_000_000_000
HEAD_TIMEOUT_SECONDS = 3.0
TIMEOUT_SECONDS = 5.0
# Exponential, ten minutes in all, as on Alchemy's free and pay-as-you-go plans.
RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


@dataclass(frozen=True, kw_only=True)
class AlchemyFaults(Faults):
    """`webhook_lost_rate`: the probability of each notification never to be sent.

    `webhook_late_seconds`: how late each is, which mixes their order; `webhook_twice_rate`: the
    probability to be sent again after it was accepted.
    """

    webhook_lost_rate: float = 0.0
    webhook_late_seconds: tuple[float, float] = (0.0, 0.0)
    webhook_twice_rate: float = 0.0


@dataclass(frozen=True)
class Notification:
    """Hold one webhook event, which every attempt sends unchanged."""

    event_id: str
    body: bytes
    block_number: int


class AlchemyEmulator(Emulator[AlchemyFaults]):
    """Follow the chain and notify `target` of every block with BatchMinted logs.

    Its port serves control only. Any answer but 200 is retried, by `retry_seconds`.
    """

    name = "alchemy"
    faults_class = AlchemyFaults

    def __init__(
        self,
        *,
        rpc_url: str,
        target: str,
        contract: str = CONTRACT_ADDRESS,
        signing_key: str = SANDBOX_SIGNING_KEY,
        cursor_file: Path | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retry_seconds: tuple[float, ...] = RETRY_SECONDS,
        **common: Any,
    ) -> None:
        """Prepare the emulator; for `common` see `Emulator`.

        It starts after the current head, as a new webhook does. With `cursor_file` it goes on,
        after a restart, from the first block not yet delivered.
        """
        super().__init__(**common)
        self._rpc = RpcClient(rpc_url)
        self._target, self._signing_key = target, signing_key
        self._timeout_seconds, self._retry_seconds = timeout_seconds, retry_seconds
        self._contract = contract.lower()
        self._cursor_file = cursor_file
        self._last_sequence = 0
        self._pending: dict[str, int] = {}  # block numbers by event id
        self.watcher = ChainWatcher(rpc_url, self._on_block, from_block=self._read_cursor())

    def routes(self) -> list[web.RouteDef]:
        return []

    async def on_start(self) -> None:
        self.watcher.start()
        # Ready means that the next block will be noticed; without a node we start all the same.
        await asyncio.to_thread(self.watcher.wait_for_head, HEAD_TIMEOUT_SECONDS)

    async def on_stop(self) -> None:
        await asyncio.to_thread(self.watcher.stop)
        self._rpc.close()

    def oldest_pending_block(self) -> int | None:
        """Return the lowest block whose notification is neither delivered nor given up."""
        return min(list(self._pending.values()), default=None)

    # --- what happens on chain, in the watcher's thread ---

    def _on_block(self, header: Header) -> None:
        number = int(header["number"], 16)
        logs = self._matching_logs(header)
        transactions = self._transactions(header, logs)
        if transactions is None:
            return  # A reorg replaced the block while we looked; its successor is notified.
        if logs:
            event = block_event(header, logs, transactions, self._next_sequence())
            event_id = f"whevt_{secrets.token_hex(8)}"
            body = render(SANDBOX_WEBHOOK_ID, event_id, event)
            notification = Notification(event_id, body, number)
            self._pending[event_id] = number
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._send, notification)
        self._write_cursor(number)

    def _matching_logs(self, header: Header) -> list[dict[str, Any]]:
        if int(header["logsBloom"], 16) == 0:
            return []
        query = {
            "blockHash": header["hash"],
            "address": self._contract,
            "topics": [BATCH_MINTED_TOPIC],
        }
        logs: list[dict[str, Any]] = self._rpc.call("eth_getLogs", query)
        return logs

    def _transactions(
        self, header: Header, logs: list[dict[str, Any]]
    ) -> dict[str, dict[str, Any]] | None:
        """Return the logs' transactions by hash; None if they are in this block no more."""
        transactions = {}
        for tx_hash in {log["transactionHash"] for log in logs}:
            transaction = self._rpc.call("eth_getTransactionByHash", tx_hash)
            receipt = self._rpc.call("eth_getTransactionReceipt", tx_hash)
            if not transaction or not receipt or receipt["blockHash"] != header["hash"]:
                return None
            transactions[tx_hash] = transaction_fields(transaction, receipt)
        return transactions

    def _next_sequence(self) -> int:
        """Return a number that rises with every notification, over restarts too."""
        by_clock = SEQUENCE_BASE + int(time.time() * 1000) * 1000
        self._last_sequence = max(self._last_sequence + 1000, by_clock)
        return self._last_sequence

    # --- deliveries, in the event loop ---

    def _send(self, notification: Notification) -> None:
        if self.plan.chance("webhook-lost", self.faults.webhook_lost_rate):
            del self._pending[notification.event_id]
        else:
            self.spawn(self._deliver(notification))

    async def _deliver(self, notification: Notification) -> None:
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "X-Alchemy-Signature": sign(self._signing_key, notification.body),
        }
        body, timeout = notification.body, self._timeout_seconds
        await asyncio.sleep(self.plan.seconds("late", self.faults.webhook_late_seconds))
        for pause in (0.0, *self._retry_seconds):
            await asyncio.sleep(pause)
            if await self.post(self._target, body, headers, timeout) == 200:
                break
        if self.plan.chance("twice", self.faults.webhook_twice_rate):
            await self.post(self._target, body, headers, timeout)
        self._pending.pop(notification.event_id, None)

    # --- where to go on after a restart ---

    def _read_cursor(self) -> int | None:
        if self._cursor_file is None:
            return None
        try:
            return int(json.loads(self._cursor_file.read_text())["next_block"])
        except (OSError, ValueError, KeyError):
            return None

    def _write_cursor(self, number: int) -> None:
        """Keep where a restart has to begin; a notification may then be sent a second time."""
        if self._cursor_file is None:
            return
        pending = self.oldest_pending_block()
        next_block = number + 1 if pending is None else min(pending, number + 1)
        temporary = self._cursor_file.with_name(self._cursor_file.name + ".new")
        temporary.write_text(json.dumps({"next_block": next_block}))
        temporary.replace(self._cursor_file)


def sign(signing_key: str, body: bytes) -> str:
    """Compute the X-Alchemy-Signature header: hex HMAC-SHA256, the key taken as text."""
    return hmac.new(signing_key.encode(), body, hashlib.sha256).hexdigest()


def render(webhook_id: str, event_id: str, event: dict[str, Any]) -> bytes:
    """Build a webhook's body: compact JSON, the fields in Alchemy's order."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    envelope = {
        "webhookId": webhook_id,
        "id": event_id,
        "createdAt": f"{moment}.{nanoseconds:09d}Z",
        "type": "GRAPHQL",
        "event": event,
    }
    return json.dumps(envelope, separators=(",", ":")).encode()


def block_event(
    header: dict[str, Any],
    logs: list[dict[str, Any]],
    transactions: dict[str, dict[str, Any]],
    sequence_number: int,
) -> dict[str, Any]:
    """Build the event of one block; `transactions` holds the ones to show, by hash."""
    return {
        "data": {
            "block": {
                "hash": header["hash"],
                "number": int(header["number"], 16),
                "timestamp": int(header["timestamp"], 16),
                "logs": [
                    {
                        "data": log["data"],
                        "topics": log["topics"],
                        "index": int(log["logIndex"], 16),
                        "account": {"address": log["address"].lower()},
                        "transaction": transactions[log["transactionHash"]],
                    }
                    for log in logs
                ],
            }
        },
        "sequenceNumber": str(sequence_number),
    }


def transaction_fields(transaction: dict[str, Any], receipt: dict[str, Any]) -> dict[str, Any]:
    """Return a transaction as our GraphQL query asks for it."""
    return {
        "hash": transaction["hash"],
        "index": int(receipt["transactionIndex"], 16),
        "from": {"address": transaction["from"].lower()},
        "to": {"address": transaction["to"].lower()} if transaction.get("to") else None,
        "status": int(receipt["status"], 16),
    }
