"""What is worse is named, with the status 1; how much more is too much, the baseline's runs say."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks import compare
from benchmarks.calibration import Calibration, Round, Speed
from benchmarks.compare import BETTER, MISSING, NEW, SAME, WORSE, judge, ratios, spreads
from benchmarks.report import Result

STEADY = {"exact": 0.0, "time": 0.0}


class Machine:
    """Takes 20 ms for a round, and half of that of CPU."""

    def rounds(self) -> list[Round]:
        return [Round(10.0, [[5.0, 5.0], [10.0]]), Round(11.0, [[5.0, 9.0], [30.0]])]


@pytest.fixture
def baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of its own, for a benchmark whose figures each test chooses."""
    part = {"command": "some", "time": ["lone_ms"], "exact": ["calls"]}
    monkeypatch.setattr(compare, "COMPARED", {"some": part})
    monkeypatch.setattr(compare, "STORED", tmp_path / "baseline.json")

    @contextmanager
    def calibration() -> Iterator[Machine]:
        yield Machine()

    monkeypatch.setattr(compare, "calibration", calibration)
    return tmp_path / "baseline.json"


def found(monkeypatch: pytest.MonkeyPatch, *results: dict[str, Any]) -> None:
    left = [Result(figures) for figures in results]
    monkeypatch.setattr(compare, "measure", lambda *_command: left.pop(0))


@pytest.mark.parametrize(
    ("now", "verdict"),
    [(1.0, SAME), (1.14, SAME), (1.16, WORSE), (0.91, SAME), (0.89, BETTER)],
)
def test_the_more_runs_the_less_may_lie_beyond_them(now: float, verdict: str) -> None:
    stored = {"time lone_ms": [1.0, 1.1, 0.95]}  # 0.15 apart
    (row,) = judge("some", stored, {"time lone_ms": now}, STEADY)
    assert row.verdict == verdict


def test_runs_that_agree_by_chance_are_given_the_slack_of_their_kind() -> None:
    known = {"time a": [1.0, 1.0], "time b": [1.0, 1.1], "time c": [1.0, 1.3], "time d": [1.0]}
    usual = spreads([known])
    for now, verdict in ((1.04, SAME), (1.06, WORSE)):
        (row,) = judge("some", {"time a": [1.0, 1.0]}, {"time a": now}, usual)
        assert row.verdict == verdict
    for now, verdict in ((7.0, SAME), (7.001, WORSE)):
        (row,) = judge("some", {"exact n": [7.0, 7.0]}, {"exact n": now}, usual)
        assert row.verdict == verdict


def test_new_and_missing_figures_are_said() -> None:
    rows = judge("some", {"time old": [1.0]}, {"time new": 1.0}, STEADY)
    assert [(row.figure, row.verdict) for row in rows] == [
        ("some: time new", NEW),
        ("some: time old", MISSING),
    ]


def test_a_figure_is_divided_by_what_its_kind_says() -> None:
    part: dict[str, Any] = {kind: [f"{kind}_s"] for kind in compare.KINDS}
    part |= {"share": [["share_s", "rest_s"], ["alone_s", "gone_s"]]}
    figures: dict[str, Any] = {f"{kind}_s": 60.0 for kind in compare.KINDS}
    figures |= {"floor_s": (60.0, 30.0), "rest_s": 20.0, "alone_s": 3.0}
    speed = Speed.of([Round(9.0, [[20.0]]), Round(10.0, [[15.0]]), Round(50.0, [[90.0]])])
    assert ratios(part, Result(figures), speed) == {
        "floor floor_s": 2.0,
        "cpu cpu_s": 6.0,
        "time time_s": 4.0,
        "share share_s": 0.75,
        "share rest_s": 0.25,
        "share alone_s": 1.0,
        "size size_s": 60.0,
        "exact exact_s": 60.0,
    }


def test_the_baseline_is_written_added_to_and_compared_with(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found(monkeypatch, *({"lone_ms": ms, "calls": 3.0} for ms in (20.0, 22.0, 21.0)))
    assert compare.main(["--baseline", "--runs", "2"]) == 0
    assert compare.main(["--baseline", "--runs", "1", "--add"]) == 0
    stored = json.loads(baseline.read_text())["some"]
    assert stored["runs"] == 3
    assert stored["ratios"] == {"time lone_ms": [1.0, 1.1, 1.05], "exact calls": [3.0] * 3}
    assert {"date", "commit", "machine"} <= stored.keys()

    found(monkeypatch, {"lone_ms": 22.5, "calls": 3.0})
    assert compare.main([]) == 0
    assert capsys.readouterr().out.count(SAME) == 2


def test_what_looks_worse_is_measured_again(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = cast(Calibration, Machine())
    kept = {"some": {"ratios": {"time lone_ms": [1.0, 1.1], "exact calls": [3.0, 3.0]}}}
    found(
        monkeypatch,
        *({"lone_ms": ms, "calls": n} for ms, n in ((40.0, 3.0), (39.0, 3.0), (20.0, 4.0))),
    )
    assert compare.compare(["some"], kept, machine) == 0
    assert WORSE not in capsys.readouterr().out

    found(monkeypatch, *({"lone_ms": ms, "calls": 3.0} for ms in (40.0, 38.0, 39.0)))
    assert compare.compare(["some"], kept, machine) == 1
    out = capsys.readouterr().out
    assert "+81.0%" in out
    assert f"{WORSE}: some: time lone_ms" in out

    found(monkeypatch, {"calls": 3.0})
    assert compare.compare(["some"], kept, machine) == 1
    assert f"{MISSING}: some: time lone_ms" in capsys.readouterr().out


def test_without_a_baseline_nothing_is_measured(
    baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main([]) == 1
    assert "make bench-baseline" in capsys.readouterr().err
    assert not baseline.exists()


def test_every_figure_that_is_compared_has_a_baseline() -> None:
    stored = json.loads(Path(compare.__file__).with_name("baseline.json").read_text())
    assert {name for name, part in compare.COMPARED.items() if "full" not in part} <= stored.keys()
    for name in stored:
        part = compare.COMPARED[name]
        figures = {f"{kind} {each}" for kind, names in compare.compared(part) for each in names}
        assert stored[name]["ratios"].keys() == figures, name
