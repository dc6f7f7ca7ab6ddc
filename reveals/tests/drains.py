"""Reveal drains in processes of their own, and what must be true of their books afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from typing import Any

import psutil
from django.conf import settings as django_settings

from glisk.tests.database import database_url
from glisk.tests.waiting import eventually
from reveals.models import RevealBatch, RevealBatchToken
from reveals.tests.stage import Scene, transactions
from sandbox.accounts import KEEPER
from tokens.models import Token, TokenTransition

IN_FLIGHT = 4


class Drains:
    """Starts reveal drains in processes of their own, and sees them die."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reveals.tests.drain_process"],
            cwd=django_settings.BASE_DIR,
            env={
                **os.environ,
                "DATABASE_URL": database_url(),
                "DJANGO_SETTINGS_MODULE": "glisk.tests.settings",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pids: list[int] = []

    def start(self, scene: Scene, **order: Any) -> int:
        assert self.process.stdin and self.process.stdout
        order["settings"] = {
            "RPC_URL": scene.chain.rpc_url,
            "GLISK_NFT_CONTRACT_ADDRESS": scene.chain.contract.address,
            "KEEPER_PRIVATE_KEY": KEEPER.private_key,
            "PINATA_GATEWAY": [scene.gateway.url],
            "REVEAL_MAX_IN_FLIGHT": IN_FLIGHT,
            **order.get("settings", {}),
        }
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self.pids.append(int(self.process.stdout.readline()))
        return self.pids[-1]

    def end(self) -> None:
        for pid in self.pids:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGTERM)
        eventually(lambda: not any(map(psutil.pid_exists, self.pids)), what="the end of the drains")
        self.pids = []

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()


def wait_for_the_kill(victim: int, kill_at: str) -> None:
    eventually(lambda: not psutil.pid_exists(victim), what=f"the kill at '{kill_at}'")


def check_books(scene: Scene, tokens: list[Token], *, batches: int) -> None:
    """Compare every row with the chain: one mined transaction for each nonce, and no other."""
    assert scene.revealed_once(tokens)
    on_chain = scene.chain.reveal_transactions()
    rows = transactions()
    assert scene.nonce() == batches == len(on_chain)
    assert sorted(RevealBatch.objects.values_list("nonce", flat=True)) == list(range(batches))
    confirmed = {row.nonce: row for row in rows if row.status == "confirmed"}
    assert sorted(row.tx_hash for row in confirmed.values()) == sorted(t.tx_hash for t in on_chain)
    assert {row.status for row in rows} <= {"confirmed", "replaced"}
    blocks = {reveal.tx_hash: reveal.block_number for reveal in on_chain}
    assert {row.tx_hash: row.block_number for row in confirmed.values()} == blocks
    assert all(batch.status == "confirmed" for batch in RevealBatch.objects.all())
    assert not RevealBatchToken.objects.filter(is_open=True).exists()
    moves = TokenTransition.objects.filter(to_status="revealed")
    told = {move.token_id: move.detail["tx_hash"] for move in moves}
    assert Counter(move.token_id for move in moves) == Counter(t.token_id for t in tokens)
    assert told == {i: reveal.tx_hash for reveal in on_chain for i in reveal.token_ids}
