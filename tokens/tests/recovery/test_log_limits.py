"""A provider gives logs of a few blocks at once, and refuses more in any way, or by silence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from pytest_django import Settings

from glisk.clients.chain import ChainClient
from sandbox.chain import DemoChain
from sandbox.faulty_rpc import FaultyRpc, Refusal
from tokens.models import MintEvent, Token
from tokens.recovery import gaps, logs
from tokens.recovery.progress import Progress, load_progress, save_progress
from tokens.recovery.proof import prove
from tokens.recovery.scan import scan_chain
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.stage import mint

pytestmark = pytest.mark.django_db

LIMIT = 16


@pytest.fixture
def node(chain: DemoChain, settings: Settings) -> Iterator[FaultyRpc]:
    with FaultyRpc(chain.rpc_url) as node:
        settings.RPC_URL = node.url
        yield node


@pytest.fixture
def reader(node: FaultyRpc, settings: Settings) -> ChainClient:
    return ChainClient.from_settings()


@pytest.fixture
def hasty(node: FaultyRpc, settings: Settings) -> ChainClient:
    """A reader that does not wait long for a node that says nothing."""
    settings.RPC_TIMEOUT_SECONDS = 0.4
    return ChainClient.from_settings()


def history(chain: DemoChain) -> None:
    for quantity in (1, 3, 2, 1):
        mint(chain, quantity=quantity)
        chain.mine(20)


# How each text is understood is tested with the client; these are one of a kind.
REFUSALS: list[Refusal] = [
    503,
    (-32005, "please limit the query to at most 16 blocks"),
    (-32000, "that is rather a lot, is it not"),
]


def converges(chain: DemoChain, node: FaultyRpc, reader: ChainClient) -> None:
    history(chain)
    assert scan_chain(reader).complete
    assert_equal_to_chain(chain)
    answered = load_progress().range_blocks
    assert answered is not None and LIMIT // 2 <= answered <= LIMIT
    assert sum(width > LIMIT for width in node.log_widths) <= 3
    # The next looks begin with what was answered.
    node.log_widths.clear()
    for _ in range(3):
        mint(chain)
        chain.mine(5)
        assert scan_chain(reader).complete
    assert node.log_widths and max(node.log_widths) <= LIMIT
    assert_equal_to_chain(chain)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_look_finds_the_step_that_is_answered_and_the_next_ones_keep_it(
    chain: DemoChain, node: FaultyRpc, reader: ChainClient, refusal: Refusal
) -> None:
    node.limit_logs(LIMIT, refusal)
    converges(chain, node, reader)


def test_it_finds_it_by_silence_as_well(
    chain: DemoChain, node: FaultyRpc, hasty: ChainClient
) -> None:
    node.limit_logs(LIMIT, None)
    converges(chain, node, hasty)


def test_a_step_that_was_never_answered_does_not_hold_the_looks_up(
    chain: DemoChain, node: FaultyRpc, reader: ChainClient
) -> None:
    save_progress(Progress(range_blocks=32))
    node.limit_logs(LIMIT, 504)
    history(chain)
    assert scan_chain(reader).complete
    assert load_progress().range_blocks == LIMIT
    assert_equal_to_chain(chain)


@pytest.mark.parametrize("refusal", [503, (-32601, "not here")])
def test_while_no_log_is_given_tokens_come_by_their_ids_and_mints_follow(
    chain: DemoChain, node: FaultyRpc, reader: ChainClient, refusal: Refusal
) -> None:
    node.limit_logs(0, refusal)
    history(chain)
    assert scan_chain(reader).complete
    assert Token.objects.count() == 7
    assert not MintEvent.objects.exists()
    assert load_progress().range_blocks is None
    node.calm()
    prove(reader, budget_seconds=600)
    assert_equal_to_chain(chain)


def test_silence_that_takes_a_looks_whole_time_does_not_keep_the_ids_from_being_read(
    chain: DemoChain, node: FaultyRpc, hasty: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.limit_logs(0, None)
    history(chain)

    def monotonic() -> float:
        return time.monotonic() + (3600 if node.log_widths else 0)

    for module in (logs, gaps):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=monotonic))
    scan_chain(hasty, budget_seconds=600)  # the first step takes all of it
    assert Token.objects.count() == 7
    assert len(node.log_widths) == 2


def test_silence_that_takes_a_looks_whole_time_is_overcome_by_the_next_looks(
    chain: DemoChain, node: FaultyRpc, hasty: ChainClient
) -> None:
    node.limit_logs(LIMIT, None)
    history(chain)
    assert scan_chain(hasty, budget_seconds=0.35).ended_early
    assert load_progress().range_blocks == 8
    while scan_chain(hasty, budget_seconds=0.35).ended_early:
        pass
    assert_equal_to_chain(chain)
