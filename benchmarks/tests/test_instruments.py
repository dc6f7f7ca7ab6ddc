"""The instruments themselves, against loads of known size."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.instruments import count_lines, pss_mb, tree_of, usage
from benchmarks.report import Report, Result, percentile

BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"
WAIT = "print('ready', flush=True); input()"


@contextmanager
def python(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run code up to the line "ready"; a test that fails ends it, too."""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_usage_is_the_processor_time_of_a_process() -> None:
    with python(BURN.format(seconds=0.3) + WAIT) as process:
        assert 0.28 <= usage([process.pid]).cpu_seconds < 1


def test_usage_counts_children_that_live_and_children_that_ended() -> None:
    burn = BURN.format(seconds=0.2)
    with python(
        "import subprocess, sys\n"
        f"burn = {burn!r}\n"
        "subprocess.run([sys.executable, '-c', burn])\n"
        f"living = subprocess.Popen([sys.executable, '-c', burn + {WAIT!r}], stdin=-1, stdout=-1)\n"
        "living.stdout.readline()\n" + WAIT
    ) as process:
        found = usage([process.pid])
        assert found.processes == 2
        assert found.cpu_seconds >= 0.38
        process.communicate("\n", timeout=60)


def test_a_tree_is_a_process_and_all_its_descendants() -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAIT!r}])"
    with python(code) as process:
        tree = {one.pid: one for one in tree_of([process.pid])}
        assert len(tree) == 2
        (child,) = tree.keys() - {process.pid}
        assert tree[child].ppid() == process.pid
        process.communicate("\n", timeout=60)
    assert tree_of([process.pid]) == set()


def test_memory_grows_with_what_a_process_holds() -> None:
    with python(WAIT) as small, python(f"held = b'x' * 50_000_000; {WAIT}") as large:
        assert pss_mb([large.pid]) - pss_mb([small.pid]) == pytest.approx(50e6 / 2**20, abs=3)


def test_statements_are_counted_once_and_without_the_observers_own() -> None:
    log = (
        "glisk-bench 11 BEGIN: LOG:  duration: 0.010 ms\n"
        "glisk-bench 11 PARSE: LOG:  duration: 0.200 ms\n"
        "glisk-bench 11 BIND: LOG:  duration: 0.100 ms\n"
        "glisk-bench 11 SELECT: LOG:  duration: 1.500 ms\n"
        "glisk-bench 11 CREATE TABLE: LOG:  duration: 2.000 ms\n"
        "glisk-bench 12 SELECT: LOG:  duration: 9.000 ms\n"
        "glisk-bench 11 idle: ERROR:  canceling statement\n"
        "2030-01-01 00:00:00 UTC [7] LOG:  starting\n"
    )

    found = count_lines(log, own_pid=12)

    assert found.count == 3
    assert found.by_tag == {"BEGIN": 1, "SELECT": 1, "CREATE TABLE": 1}
    assert found.server_ms == pytest.approx(3.81)


def test_a_report_prints_every_figure_beside_its_floor() -> None:
    machine = {"cpus": 2, "cpu": "Some CPU", "memory_gb": 4.0, "load_before": 0.5}
    result = Result({"time_s": (2.5, 2.0), "size_mb": 7}, ("how",))
    report = Report("example", result, machine)

    lines = [line.split() for line in report.as_text().splitlines()]

    assert ["time_s", "2.50", "2.00"] in lines
    assert ["size_mb", "7.00"] in lines
    assert ["how"] in lines
    assert report.as_json() == {
        "name": "example",
        "figures": {"time_s": 2.5, "size_mb": 7.0},
        "floor": {"time_s": 2.0},
        "machine": machine,
    }


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]

    assert [percentile(values, part) for part in (0.5, 0.95, 0.99, 1)] == [50, 95, 99, 100]
    assert percentile([7.0], 0.99) == 7
