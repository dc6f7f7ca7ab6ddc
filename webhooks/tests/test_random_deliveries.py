"""Whatever the webhook drops, doubles, reorders or cuts short, whatever a node hides, and whatever
reorgs do meanwhile: in the end the database holds what the chain holds, token by token.

GLISK_RECOVERY_CASES plays more cases than usual, GLISK_RECOVERY_SEED others.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import transaction
from pytest_django import Settings
from rest_framework.exceptions import ParseError

from authors.factories import AuthorFactory, wallet
from glisk.errors import ProviderError
from tokens.models import ImageGenerationJob, MintEvent, Token
from tokens.models.job import JobStatus
from tokens.recovery import drift, keeping, progress, proof
from tokens.recovery.proof import prove
from tokens.recovery.scan import ScanReport, scan_chain
from tokens.recovery.unsettled import unsettled_mints
from tokens.states import TokenStatus
from tokens.tests.recovery.model_chain import (
    CONTRACT,
    Block,
    Mint,
    ModelChain,
    ModelNode,
    Transaction,
)
from webhooks.alchemy import read_event
from webhooks.inbox import receive_event
from webhooks.models import WebhookEvent
from webhooks.payloads import read_json_object

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(3600)]

CASES = int(os.environ.get("GLISK_RECOVERY_CASES", "150"))
SEED = int(os.environ.get("GLISK_RECOVERY_SEED", "20260201"))
REGISTERED = {wallet(0xA1): "a fox in the snow", wallet(0xA2): "a lighthouse at night"}
AUTHORS = [*REGISTERED, wallet(0xA3)]
MINTERS = [wallet(0xC1), wallet(0xC2)]
DEFAULT_PROMPT = "the default prompt"


@pytest.fixture(autouse=True)
def _world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.GLISK_NFT_CONTRACT_ADDRESS = CONTRACT
    settings.CONTRACT_DEPLOYED_AT_BLOCK = 0
    settings.MINT_CONFIRMATIONS = 2
    AuthorFactory.create(
        wallet_address=settings.GLISK_DEFAULT_AUTHOR_WALLET, prompt_text=DEFAULT_PROMPT
    )
    for address, prompt in REGISTERED.items():
        AuthorFactory.create(wallet_address=address, prompt_text=prompt)
    # Waits of the wall clock; the chain's own, in blocks, are played.
    monkeypatch.setattr(progress, "FIRST_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(drift, "_SURE_AFTER", drift._SURE_AFTER * 0)
    monkeypatch.setattr(proof, "_OLD_ONES", 1000)  # all of them in every proof
    monkeypatch.setattr(keeping, "_NUDGE_SECONDS", 1e9)


class Case:
    """One history of the chain, one of the deliveries, and what we make of both."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.chain = ModelChain()
        self.node = ModelNode(self.chain, dice=self.dice)
        self.node.range_blocks = self.dice.choice([None, None, 3, 10])
        self.pending: list[bytes] = []
        self.paid: set[str] = set()
        self.events = 0

    # -- the chain ----------------------------------------------------------------------

    def new_transaction(self) -> Transaction:
        dice = self.dice
        mints = [
            Mint(dice.choice(MINTERS), dice.choice(AUTHORS), dice.choice([1, 1, 2, 5]))
            for _ in range(dice.choice([1, 1, 1, 2]))
        ]
        return self.chain.transaction(*mints)

    def mine(self) -> None:
        count = self.dice.choice([0, 1, 1, 2, 3])
        self.announce(self.chain.mine(*(self.new_transaction() for _ in range(count))))

    def reveal(self) -> None:
        """Somebody reveals tokens by a keeper's key that is not ours."""
        ids = [i for mint in self.chain.mints() for i in mint.token_ids]
        ids = [i for i in ids if i not in self.chain.revealed()]
        if ids:
            chosen = self.dice.sample(ids, min(len(ids), 2))
            self.chain.mine(self.chain.transaction(revealed=chosen))

    def reorg(self) -> None:
        dice, chain = self.dice, self.chain
        depth = min(dice.choice([1, 1, 1, 2, 3, 10]), chain.head.number)
        if not depth:
            return
        gone = [t for block in chain.blocks[-depth:] for t in block.transactions]
        again = [t for t in gone if dice.random() < 0.6]
        dice.shuffle(again)
        again += [self.new_transaction() for _ in range(dice.choice([0, 0, 1, 2]))]
        blocks: list[list[Transaction]] = [[] for _ in range(depth + dice.choice([0, 1]))]
        for each in again:
            blocks[dice.randrange(len(blocks))].append(each)
        # A reveal needs no token, but these are of tokens: it comes after them all.
        for transactions in blocks:
            transactions.sort(key=lambda t: bool(t.revealed))
        old = chain.reorg(depth, blocks)
        if dice.random() < 0.3:
            self.pending += [self.removed(block) for block in old if block.transactions]
        for block in chain.blocks[-len(blocks) :]:
            self.announce(block)

    # -- the deliveries -----------------------------------------------------------------

    def announce(self, block: Block) -> None:
        logs = [self.chain.log(m) for m in self.chain.mints() if m.block is block]
        if logs:
            self.pending.append(self.body(block, logs))

    def removed(self, block: Block) -> bytes:
        """The same height told as taken back, in the form of the activity webhooks."""
        log = {
            "address": CONTRACT.lower(),
            "topics": ["0x20c0d4a5bab7118059cf1d2fd0403c4f29a05e446d435b347f90b80778374c54"],
            "blockHash": block.block_hash,
            "removed": True,
        }
        return self.event({"activity": [{"log": log}]})

    def body(self, block: Block, logs: list[dict[str, Any]]) -> bytes:
        told = [
            {
                "data": log["data"],
                "topics": log["topics"],
                "index": int(log["logIndex"], 16),
                "account": {"address": log["address"]},
                "transaction": {"hash": log["transactionHash"], "status": 1},
            }
            for log in logs
        ]
        if self.dice.random() < 0.15:  # cut short
            del told[self.dice.randrange(len(told)) :]
        elif self.dice.random() < 0.1:  # a field is missing
            del self.dice.choice(told)[self.dice.choice(["data", "topics", "index"])]
        self.dice.shuffle(told)
        facts = {"hash": block.block_hash, "number": block.number, "timestamp": block.timestamp}
        return self.event({"data": {"block": {**facts, "logs": told}}})

    def event(self, event: dict[str, Any]) -> bytes:
        self.events += 1
        body = json.dumps({"id": f"whevt_{self.events}", "event": event}).encode()
        return body[: self.dice.randrange(len(body))] if self.dice.random() < 0.05 else body

    def deliver(self) -> None:
        """Deliver any of what waits: often not the oldest, sometimes again later, or never."""
        if not self.pending:
            return
        place = self.dice.randrange(len(self.pending))
        body = self.pending[place]
        if self.dice.random() < 0.75:
            del self.pending[place]
        if self.dice.random() < 0.25:
            return  # it never arrives
        try:
            event = read_event(read_json_object(body))
        except ParseError:
            return
        if event is not None:
            receive_event(event, body)

    # -- the program --------------------------------------------------------------------

    def look(self, *, thorough: bool = False) -> ScanReport | None:
        try:
            if thorough:
                prove(self.node.reader(), budget_seconds=60)
                return None
            return scan_chain(self.node.reader())
        except ProviderError:
            return None

    def look_badly(self) -> None:
        """Look by a node that lags, hides its logs, loses answers, or is down."""
        node, dice = self.node, self.dice
        match dice.randrange(4):
            case 0:
                node.lag = dice.choice([1, 2, 5, 20])
            case 1:
                node.hides_logs = True
            case 2:
                node.drops = dice.choice([0.1, 0.5])
            case 3:
                node.down = True
        self.look(thorough=dice.random() < 0.2)
        node.lag, node.hides_logs, node.drops, node.down = 0, False, 0.0, False

    def work(self) -> None:
        """Be somewhere in the middle of generating a token; its prediction is paid for."""
        ids = list(
            Token.objects.filter(status=TokenStatus.DETECTED).values_list("token_id", flat=True)
        )
        if ids:
            token = Token.objects.get(pk=self.dice.choice(ids))
            Token.objects.filter(pk=token.pk).update(status=TokenStatus.GENERATING, attempts=1)
            name = f"prediction{len(self.paid)}"
            self.paid.add(name)
            ImageGenerationJob.objects.create(
                token=token,
                prompt=token.prompt,
                input={},
                service="replicate",
                model="m",
                external_id=name,
                attempt_number=1,
                status=JobStatus.SUBMITTED,
            )

    def play(self) -> None:
        actions = [self.mine] * 5 + [self.deliver] * 6 + [self.reorg, self.reveal, self.work]
        actions += [self.look, self.look, self.look_badly]  # type: ignore[list-item]
        for _ in range(self.dice.randint(5, 25)):
            self.dice.choice(actions)()
        while self.pending and self.dice.random() < 0.8:
            self.deliver()

    def settle(self) -> None:
        """Let the chain go on without mints, and the program look as it does by itself."""
        self.look()
        self.chain.mine_empty(3)
        self.look()
        self.chain.mine_empty(20)
        for _ in range(4):
            self.chain.mine_empty(2)
            self.look(thorough=True)
            report = self.look()
            orphans = Token.objects.filter(mint_event=None).exists()
            if report and report.complete and not unsettled_mints() and not orphans:
                return


def assert_equal_to_chain(case: Case) -> None:
    chain = case.chain
    wanted = {
        (
            m.tx_hash,
            m.log_index,
            m.block.number,
            m.block.block_hash,
            datetime.fromtimestamp(m.block.timestamp, tz=UTC),
            m.mint.minter,
            m.mint.author,
            m.start,
            m.mint.quantity,
        )
        for m in chain.mints()
    }
    columns = (
        "tx_hash",
        "log_index",
        "block_number",
        "block_hash",
        "block_timestamp",
        "minter",
        "prompt_author",
        "start_token_id",
        "quantity",
    )
    assert set(MintEvent.objects.values_list(*columns)) == wanted
    owners = {token_id: mint for mint in chain.mints() for token_id in mint.token_ids}
    tokens = {t.token_id: t for t in Token.objects.select_related("mint_event", "author")}
    assert sorted(tokens) == sorted(owners)
    for token_id, token in tokens.items():
        mint = owners[token_id]
        assert token.mint_event is not None
        assert token.mint_event.tx_hash == mint.tx_hash
        assert token_id in token.mint_event.token_ids
        assert token.prompt_author_wallet == mint.mint.author
        assert token.minter_address == mint.mint.minter
        assert int(token.mint_timestamp.timestamp()) == mint.block.timestamp
        if token.status != TokenStatus.REVEALED:  # art that is on chain keeps its own
            assert token.prompt == REGISTERED.get(mint.mint.author, DEFAULT_PROMPT)
        registered = mint.mint.author in REGISTERED
        assert (token.author.wallet_address == mint.mint.author) == registered
        assert (token.status == TokenStatus.REVEALED) == (token_id in chain.revealed())
    assert not MintEvent.objects.filter(settled_at=None).exists()
    books = ImageGenerationJob.objects.values_list("external_id", flat=True)
    assert set(books) == case.paid
    assert not WebhookEvent.objects.filter(status__in=["received", "failed"]).exists()


def seeds() -> Iterator[int]:
    for number in range(CASES):
        yield SEED + number


def test_in_the_end_the_database_holds_what_the_chain_holds() -> None:
    for seed in seeds():
        case = Case(seed)
        with transaction.atomic():
            try:
                case.play()
                case.settle()
                assert_equal_to_chain(case)
                case.node.requests = 0
                report = case.look()
                assert report is not None and report.complete
                assert case.node.requests == 1
            except BaseException as error:
                error.add_note(f"GLISK_RECOVERY_SEED={seed} GLISK_RECOVERY_CASES=1")
                raise
            transaction.set_rollback(True)
