"""A comparison of everything goes on in pieces, however many tokens there are."""

from collections.abc import Iterator

import pytest
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from glisk.models import SystemState
from glisk.timing import timing
from sandbox.accounts import AUTHORS
from sandbox.chain import DemoChain
from tokens import tasks
from tokens.models import Token
from tokens.recovery import drift, schedule
from tokens.recovery.drift import DriftReport, last_report

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch, chain: DemoChain) -> Iterator[None]:
    """Two tokens a piece; five tokens, of which the first and the last one differ."""
    schedule._kept_reader.cache_clear()
    monkeypatch.setattr(timing, "comparison_budget", -1.0)
    monkeypatch.setattr(drift, "FACTS_AT_ONCE", 2)
    chain.wait(chain.mint(1, AUTHORS[0].address, 5))
    tasks.look_at_chain()
    Token.objects.filter(token_id__in=(1, 5)).update(prompt_author_wallet=AUTHORS[1].address)
    yield
    schedule._kept_reader.cache_clear()


def next_piece() -> tuple[int, ...]:
    """Take the task of the next piece from the queue; return its arguments."""
    rows = [(row, SignedPackage.loads(row.payload)) for row in OrmQ.objects.order_by("pk")]
    ((row, task),) = [
        (row, task) for row, task in rows if task["func"] == "tokens.tasks.compare_everything"
    ]
    row.delete()
    return tuple(task["args"])


def test_the_pieces_follow_each_other_and_make_one_report() -> None:
    assert tasks.compare_everything() == 1
    assert last_report() == DriftReport()  # not before the end
    assert tasks.compare_everything(*next_piece()) == 1
    following = next_piece()
    assert following == (5,)
    assert tasks.compare_everything(*following) == 2
    report = last_report()
    assert (report.complete, report.tokens_checked, report.unrepaired) == (True, 5, 2)
    assert [finding.token_id for finding in report.findings] == [1, 5]
    assert not OrmQ.objects.filter(payload__contains="compare").exists()
    assert not SystemState.objects.filter(state_key=drift._PIECES_KEY).exists()


def test_a_piece_that_a_new_comparison_overtook_ends() -> None:
    tasks.compare_everything()
    overtaken = next_piece()
    tasks.compare_everything(*overtaken)
    next_piece()
    tasks.compare_everything()
    assert next_piece() == overtaken  # the new one has come as far
    assert tasks.compare_everything(5) == 0
    assert last_report() == DriftReport()
