"""Emulate an Alchemy webhook of type GRAPHQL: one notification per block that has our logs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sandbox.accounts import CONTRACT_ADDRESS
from sandbox.alchemy.deliveries import RETRY_SECONDS, TIMEOUT_SECONDS, Notification, WebhookSender
from sandbox.alchemy.envelope import (
    BATCH_MINTED_TOPIC,
    CAPACITY_ERROR,
    DEFAULT_TRANSACTION_FIELDS,
    block_event,
    new_event_id,
    render,
    transaction_fields,
)
from sandbox.alchemy.faults import AlchemyFaults
from sandbox.alchemy.watcher import ChainWatcher
from sandbox.heads import Header
from sandbox.http import Emulator, Request, Response, json_response
from sandbox.http.emulator import Handler
from sandbox.rpc import RpcClient

SANDBOX_SIGNING_KEY = "whsec_sandbox_alchemy"
SANDBOX_WEBHOOK_ID = "wh_sandbox"
SEQUENCE_BASE = 10_000_000_000_000_000_000
CURSOR_EVERY_BLOCKS = 30
HEAD_TIMEOUT_SECONDS = 3.0


class AlchemyEmulator(Emulator):
    """Follow the chain and notify `target` of every block with BatchMinted logs.

    The port only serves control: GET /health, GET /calls (the delivery log), GET and POST
    /faults, and what every emulator has under /_sandbox/, besides POST /_sandbox/unpause and
    POST /_sandbox/capacity.
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
        webhook_id: str = SANDBOX_WEBHOOK_ID,
        network: str = "",
        skip_empty_messages: bool = True,
        transaction_fields: tuple[str, ...] = DEFAULT_TRANSACTION_FIELDS,
        from_block: int | None = None,
        cursor_file: Path | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retry_seconds: tuple[float, ...] = RETRY_SECONDS,
        pause_after: int = 0,
        **common: Any,
    ) -> None:
        """Prepare the emulator; for `common` see `Emulator`.

        Without `from_block` it starts after the current head, as a new webhook does. With
        `cursor_file` it goes on, after a restart, from the first block not yet delivered.
        """
        super().__init__(**common)
        self._rpc = RpcClient(rpc_url)
        self._contract = contract.lower()
        self._webhook_id = webhook_id
        self._network = network
        self._skip_empty_messages = skip_empty_messages
        self._transaction_fields = transaction_fields
        self._cursor_file = cursor_file
        self._cursor_saved = -CURSOR_EVERY_BLOCKS
        self._last_sequence = 0
        self.sender = WebhookSender(
            target,
            signing_key,
            self.plan,
            self._later,
            timeout_seconds=timeout_seconds,
            retry_seconds=retry_seconds,
            pause_after=pause_after,
        )
        if from_block is None:
            from_block = self._read_cursor()
        self.watcher = ChainWatcher(rpc_url, self._on_block, from_block=from_block)

    # --- what happens on chain ---

    def _on_block(self, header: Header) -> None:
        logs = self._matching_logs(header)
        transactions = self._transactions(header, logs)
        if transactions is None:
            return  # A reorg replaced the block while we looked; its successor is notified.
        if logs or not self._skip_empty_messages:
            self.sender.send(self._notification(header, logs, transactions))
        self._write_cursor(int(header["number"], 16), force=bool(logs))

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
            transactions[tx_hash] = transaction_fields(
                transaction, receipt, self._transaction_fields
            )
        return transactions

    def _notification(
        self,
        header: Header,
        logs: list[dict[str, Any]],
        transactions: dict[str, dict[str, Any]],
    ) -> Notification:
        event = block_event(
            header,
            logs,
            transactions,
            sequence_number=self._next_sequence(),
            network=self._network,
        )
        event_id = new_event_id()
        return Notification(
            event_id=event_id,
            body=render(self._webhook_id, event_id, event),
            block_number=int(header["number"], 16),
            block_hash=header["hash"],
            log_count=len(logs),
        )

    def _next_sequence(self) -> int:
        """Return a number that rises with every notification, over restarts too."""
        by_clock = SEQUENCE_BASE + int(time.time() * 1000) * 1000
        self._last_sequence = max(self._last_sequence + 1000, by_clock)
        return self._last_sequence

    def send_capacity_limit(self) -> None:
        """Send the message of an account over its monthly capacity; it has no data."""
        event_id = new_event_id()
        body = render(self._webhook_id, event_id, {"error": CAPACITY_ERROR})
        self.sender.send(Notification(event_id, body, self.watcher.head, "", 0))

    def unpause(self) -> None:
        """Stream on from the latest block, as Alchemy does: the gap is not replayed."""
        self.watcher.restart_at_head()
        self.sender.unpause()

    # --- where to go on after a restart ---

    def _read_cursor(self) -> int | None:
        if self._cursor_file is None:
            return None
        try:
            return int(json.loads(self._cursor_file.read_text())["next_block"])
        except (OSError, ValueError, KeyError):
            return None

    def _write_cursor(self, number: int, *, force: bool) -> None:
        """Keep where a restart has to begin; a notification may then be sent a second time."""
        if self._cursor_file is None:
            return
        if not force and number - self._cursor_saved < CURSOR_EVERY_BLOCKS:
            return
        pending = self.sender.oldest_pending_block()
        next_block = number + 1 if pending is None else min(pending, number + 1)
        temporary = self._cursor_file.with_name(self._cursor_file.name + ".new")
        temporary.write_text(json.dumps({"next_block": next_block}))
        temporary.replace(self._cursor_file)
        self._cursor_saved = number

    # --- control ---

    def routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("GET", r"/health", lambda request: self._health()),
            ("GET", r"/calls", lambda request: self._deliveries()),
            ("GET", r"/faults", lambda request: json_response(asdict(self.faults))),
            ("POST", r"/faults", self._change_faults),
        ]

    def control(self, request: Request, action: str) -> Response | None:
        match (request.method, action):
            case ("GET", "deliveries"):
                return self._deliveries()
            case ("POST", "unpause"):
                self.unpause()
            case ("POST", "capacity"):
                self.send_capacity_limit()
            case _:
                return None
        return self._health()

    def _health(self) -> Response:
        return json_response(
            {
                "status": "healthy" if self.watcher.connected else "degraded",
                "name": self.name,
                "block": self.watcher.head,
                "paused": self.sender.paused,
            }
        )

    def _deliveries(self) -> Response:
        deliveries = [asdict(delivery) for delivery in self.sender.deliveries]
        return json_response({"count": len(deliveries), "calls": deliveries})

    def _change_faults(self, request: Request) -> Response:
        try:
            self.set_faults(**request.json())
        except (ValueError, TypeError) as error:
            return json_response({"detail": str(error)}, 400)
        return json_response(asdict(self.faults))

    # --- life cycle ---

    async def on_start(self) -> None:
        self.watcher.start()
        # Ready means that the next block will be noticed; without a node we start all the same.
        await asyncio.to_thread(self.watcher.wait_for_head, HEAD_TIMEOUT_SECONDS)

    async def on_stop(self) -> None:
        await asyncio.to_thread(self.watcher.stop)
        self.sender.close()
        self._rpc.close()

    def reset(self, *, state: bool = False) -> None:
        super().reset(state=state)
        self.sender.clear()

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(loop.call_later, seconds, call)
