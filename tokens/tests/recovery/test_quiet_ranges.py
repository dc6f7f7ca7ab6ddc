"""Where a provider gives little at once, parts without a mint are proven empty, not read."""

from __future__ import annotations

import random

import pytest
from pytest_django import Settings

from authors.tests.factories import wallet
from glisk.clients.chain import RpcError
from glisk.errors import ProviderError, TransientError
from tokens.recovery.backfill import Report, backfill
from tokens.recovery.logs import busy_spans
from tokens.recovery.progress import load_progress
from tokens.tests.recovery.model_chain import CONTRACT, Mint, ModelChain
from tokens.tests.recovery.model_node import ModelNode

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _contract(settings: Settings) -> None:
    settings.GLISK_NFT_CONTRACT_ADDRESS = CONTRACT
    settings.CONTRACT_DEPLOYED_AT_BLOCK = 0


def quiet_chain(*mints_at: int, blocks: int = 5_000) -> ModelChain:
    """A chain in which somebody minted at these blocks, and nobody at any other."""
    chain = ModelChain()
    for number in range(1, blocks + 1):
        if number in mints_at:
            chain.mine(chain.transaction(Mint(wallet(0xC1), wallet(0xA1), 2)))
        else:
            chain.mine()
    return chain


def read(node: ModelNode) -> Report:
    report = Report()
    head = node.chain.head.number
    backfill(node.reader(), first=0, last=head, head=head, report=report)
    return report


def test_a_long_quiet_history_takes_few_requests() -> None:
    node = ModelNode(quiet_chain(17, 1_234, 1_235, 5_000), range_blocks=10)
    report = read(node)
    assert (report.created, report.blocks) == (8, 5_001)
    assert node.requests < 30  # 500 without the proof
    assert load_progress().block == 5_000


@pytest.mark.parametrize(
    "refusal",
    [
        RpcError(-32000, "missing trie node", "eth_call"),
        TransientError("chain: the reply to POST was lost (timeout)", vendor="chain"),
    ],
)
def test_a_node_without_old_state_is_read_from_end_to_end(
    monkeypatch: pytest.MonkeyPatch, refusal: ProviderError
) -> None:
    node = ModelNode(quiet_chain(17, 1_234, blocks=1_500), range_blocks=10)
    whole = node._contract

    def pruned(head: int, data: str, tag: str) -> str:
        if tag != "latest" and int(tag, 16) < head - 128:
            raise refusal
        return whole(head, data, tag)

    monkeypatch.setattr(node, "_contract", pruned)
    assert read(node).created == 4
    assert node.requests >= 150


def test_a_node_that_answers_for_now_whatever_it_is_asked_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = ModelNode(quiet_chain(17, 1_234, blocks=1_500), range_blocks=10)
    whole = node._contract

    def always_now(head: int, data: str, tag: str) -> str:
        return whole(head, data, "latest")

    monkeypatch.setattr(node, "_contract", always_now)
    assert read(node).created == 4


def test_no_mint_lies_outside_the_busy_parts() -> None:
    dice = random.Random(5)
    for _ in range(25):
        mints = sorted(dice.sample(range(1, 800), dice.randint(1, 12)))
        node = ModelNode(quiet_chain(*mints, blocks=dice.randint(800, 900)))
        first, last = dice.randint(0, mints[0]), node.chain.head.number
        spans = busy_spans(node.reader(), first, last, step=dice.choice([1, 3, 10]))
        assert spans is not None
        covered = [number for start, end in spans for number in range(start, end + 1)]
        assert set(mints) <= set(covered)
        assert len(covered) == len(set(covered))
        assert first <= min(covered) and max(covered) <= last
