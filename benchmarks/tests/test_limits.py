"""What the benchmark `limits` makes of the vendor's call log."""

import argparse

import pytest

from benchmarks import limits
from benchmarks.command_line import BENCHMARKS
from benchmarks.limits import Call


def test_refused_calls_are_a_share_of_all_calls() -> None:
    calls = [Call(at=0.1 * number, refused=number % 4 == 3) for number in range(40)]
    assert limits.share_refused(calls) == 0.25


@pytest.mark.parametrize(
    ("accepted_at", "share"),
    [
        ([0.5 * n for n in range(241)], 1.0),  # at the very pace for two minutes
        ([0.5 * n for n in range(120)], 1.0),  # a whole minute's calls within the first
        ([1.0 * n for n in range(121)], 0.5),
        ([0.0] * 60, 0.5),
    ],
)
def test_the_limit_is_used_by_what_was_accepted(accepted_at: list[float], share: float) -> None:
    calls = [Call(at, refused=False) for at in accepted_at]
    calls += [Call(200.0, refused=True)]
    assert limits.share_used(calls, per_minute=120) == pytest.approx(share, abs=0.01)


def test_it_is_one_of_the_benchmarks() -> None:
    assert limits in BENCHMARKS
    parser = argparse.ArgumentParser()
    limits.add_options(parser)
    assert vars(parser.parse_args([])) == {
        "tokens": 50,
        "limited_tokens": 200,
        "per_minute": 250,
        "burst": 0,
    }
