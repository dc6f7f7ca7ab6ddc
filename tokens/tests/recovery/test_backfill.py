"""Reading logs from providers that give little at once, and the command that does it."""

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from glisk.clients.chain import ChainClient, RangeTooWideError
from glisk.errors import ProviderError
from sandbox.accounts import AUTHORS
from sandbox.chain import DemoChain
from tokens.models import MintEvent, Token
from tokens.recovery.backfill import Report, backfill
from tokens.recovery.progress import Progress, load_progress, save_progress
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.node_proxy import Alter, HttpAnswer, NodeProxy

pytestmark = pytest.mark.django_db


def scatter(chain: DemoChain, mints: int = 6, *, blocks_between: int = 7) -> None:
    """Mint here and there."""
    for number in range(mints):
        chain.mine(blocks_between)
        chain.wait(chain.mint(1, AUTHORS[number % 2].address, 1 + number % 3))


def error(code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}}


def limited(blocks: int, refuse: Callable[[int, int], Any]) -> Alter:
    """Give logs of so many blocks at once; `refuse(from, to)` is the answer to a wider range."""

    def alter(method: str, params: list[Any], answer: dict[str, Any]) -> Any:
        if method != "eth_getLogs":
            return answer
        first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
        if last - first + 1 <= blocks:
            return answer
        refusal = refuse(first, last)
        return {**refusal, "id": answer["id"]}

    return alter


def free_plan(first: int, last: int) -> Any:
    """Alchemy's free plan, as it answers to single calls: HTTP 400."""
    message = (
        "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range. "
        "Based on your parameters, this block range should work: "
        f"[{hex(first)}, {hex(first + 9)}]. Upgrade to PAYG for expanded block range."
    )
    raise HttpAnswer(400, error(-32600, message))


def proxy_service(first: int, last: int) -> Any:
    return error(-32600, "block range is too wide")


def run(reader: ChainClient, chain: DemoChain, **options: Any) -> Report:
    report = Report()
    head = chain.block_number()
    backfill(reader, first=0, last=head, head=head, report=report, **options)
    return report


def widths(proxy: NodeProxy) -> list[int]:
    return [last - first + 1 for first, last in proxy.log_ranges]


def assert_covered(proxy: NodeProxy, last: int, limit: int) -> None:
    """The ranges that were answered follow on each other from 0 to the end."""
    at = 0
    for first, end in proxy.log_ranges:
        if end - first + 1 <= limit:
            assert first == at
            at = end + 1
    assert at == last + 1


@pytest.mark.parametrize(
    ("limit", "refuse", "refusals"),
    [(10, free_plan, 1), (1, proxy_service, 3)],
    ids=["a rule that is named", "not named"],
)
def test_the_range_becomes_what_the_provider_gives(
    chain: DemoChain,
    proxy: NodeProxy,
    bad_reader: ChainClient,
    limit: int,
    refuse: Callable[[int, int], Any],
    refusals: int,
) -> None:
    scatter(chain)
    proxy.alter = limited(limit, refuse)
    report = run(bad_reader, chain)
    assert report.created == Token.objects.count() > 6
    assert_equal_to_chain(chain)
    assert_covered(proxy, chain.block_number(), limit)
    assert sum(width > limit for width in widths(proxy)) == refusals


def by_size(logs_at_most: int) -> Alter:
    """Alchemy's paid plans: any range, but not too many logs in one answer."""

    def alter(method: str, params: list[Any], answer: dict[str, Any]) -> Any:
        if method != "eth_getLogs" or len(answer["result"]) <= logs_at_most:
            return answer
        first = int(params[0]["fromBlock"], 16)
        last_fitting = int(answer["result"][logs_at_most - 1]["blockNumber"], 16)
        message = (
            "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block "
            "range and no limit on the response size, or you can request any block range with a "
            "cap of 10K logs in the response. Based on your parameters and the response size "
            f"limit, this block range should work: [{hex(first)}, {hex(last_fitting)}]"
        )
        return {**error(-32602, message), "id": answer["id"]}

    return alter


def test_a_refusal_for_the_size_of_one_answer_is_no_rule_for_the_others(
    chain: DemoChain, proxy: NodeProxy, bad_reader: ChainClient
) -> None:
    scatter(chain, mints=8, blocks_between=0)
    chain.mine(300)
    proxy.alter = by_size(2)
    run(bad_reader, chain, range_blocks=64)
    assert_equal_to_chain(chain)
    assert max(widths(proxy)[-4:]) > 64  # it has grown again where there is little


def test_the_range_grows_on_success_and_what_was_answered_is_remembered(
    chain: DemoChain, proxy: NodeProxy, bad_reader: ChainClient
) -> None:
    chain.mine(100)
    run(bad_reader, chain, range_blocks=2)
    assert widths(proxy)[:5] == [2, 4, 8, 16, 32]
    assert load_progress().range_blocks == 32


def test_a_full_account_and_a_rate_limit_are_no_matter_of_the_range(
    chain: DemoChain, proxy: NodeProxy, bad_reader: ChainClient
) -> None:
    for status, code, message in (
        (403, -32600, "Monthly capacity limit exceeded."),
        (429, 429, "Your app has exceeded its compute units per second capacity."),
    ):
        refusal = HttpAnswer(status, error(code, message))

        def refuse(first: int, last: int, refusal: HttpAnswer = refusal) -> Any:
            raise refusal

        proxy.calm()
        proxy.alter = limited(0, refuse)
        with pytest.raises(ProviderError, match=re.escape(message)) as caught:
            run(bad_reader, chain)
        assert not isinstance(caught.value, RangeTooWideError)
        assert len(proxy.log_ranges) == 1


def test_an_interrupted_backfill_goes_on_where_it_was(
    chain: DemoChain, proxy: NodeProxy, bad_reader: ChainClient
) -> None:
    scatter(chain)
    whole = limited(10, free_plan)
    answered = 0

    def dies(method: str, params: list[Any], answer: dict[str, Any]) -> Any:
        nonlocal answered
        answered += method == "eth_getLogs"
        if answered > 4:  # one refusal of the range, three ranges
            raise HttpAnswer(503, "Unable to complete request at this time.")
        return whole(method, params, answer)

    proxy.alter = dies
    with pytest.raises(Exception, match="503"):
        run(bad_reader, chain)
    stopped_at = load_progress()
    assert stopped_at == Progress(block=29, head=chain.block_number(), range_blocks=10)
    assert Token.objects.exists()
    proxy.calm()
    proxy.alter = whole
    output = command("recover_events")
    assert proxy.log_ranges[0] == (30, 39)
    assert "mints" in output
    assert_equal_to_chain(chain)


# -- the command ------------------------------------------------------------------------


def command(*arguments: str) -> str:
    output = io.StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def status_of(*arguments: str) -> int:
    with pytest.raises(CommandError) as caught:
        command(*arguments)
    return caught.value.returncode


def test_the_command_reads_everything_and_then_nothing(chain: DemoChain, proxy: NodeProxy) -> None:
    scatter(chain)
    told = command("recover_events")
    assert "6 mints, 12 tokens created, 0 adopted" in told
    assert re.search(r"in \d+ requests? \(\d+ RPC calls?\)", told)
    assert_equal_to_chain(chain)
    proxy.requests.clear()
    assert "Nothing to read" in command("recover_events")
    assert len(proxy.requests) == 1


def test_a_range_that_leaves_a_hole_does_not_move_the_progress(chain: DemoChain) -> None:
    scatter(chain)
    save_progress(Progress(block=5))
    command("recover_events", "--from-block", "20", "--to-block", "40")
    assert load_progress().block == 5
    command("recover_events", "--from-block", "3", "--to-block", "30")
    assert load_progress().block == 30
    command("recover_events", "--to-block", "latest")
    assert_equal_to_chain(chain)


def test_a_dry_run_counts_and_writes_nothing(chain: DemoChain) -> None:
    scatter(chain)
    told = command("recover_events", "--dry-run")
    assert "6 mints, 12 tokens would be created" in told
    assert not Token.objects.exists()
    assert not MintEvent.objects.exists()
    assert load_progress() == Progress()


def test_the_exit_status_tells_what_was_done(chain: DemoChain, proxy: NodeProxy) -> None:
    scatter(chain)
    proxy.alter = limited(0, proxy_service)
    assert status_of("recover_events") == 1
    answered = 0

    def dies(method: str, params: list[Any], answer: dict[str, Any]) -> Any:
        nonlocal answered
        answered += method == "eth_getLogs"
        if answered > 2:
            raise HttpAnswer(500, "Unable to complete request at this time.")
        return answer

    proxy.alter = dies
    assert status_of("recover_events", "--batch-size", "2") == 2
    proxy.calm()
    command("recover_events")
    assert_equal_to_chain(chain)


def test_a_node_that_is_away_is_status_1(chain: DemoChain, proxy: NodeProxy) -> None:
    proxy.stop()
    assert status_of("recover_events") == 1
    assert status_of("recover_tokens") == 1
    assert status_of("check_drift") == 1


def test_senseless_options_are_refused(chain: DemoChain) -> None:
    for arguments in (
        ("recover_events", "--from-block", "-1"),
        ("recover_events", "--from-block", "0x10"),
        ("recover_events", "--from-block", "9", "--to-block", "3"),
        ("recover_events", "--batch-size", "0"),
        ("recover_events", "--to-block", "soon"),
        ("recover_tokens", "--limit", "0"),
    ):
        assert status_of(*arguments) == 1


def test_a_mint_known_from_another_block_is_told_with_status_2(chain: DemoChain) -> None:
    scatter(chain, mints=1)
    command("recover_events")
    MintEvent.objects.update(block_hash=f"0x{5:064x}")
    output = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("recover_events", "--from-block", "0", stdout=output)
    assert caught.value.returncode == 2
    assert "reorged: 0x" in output.getvalue()
