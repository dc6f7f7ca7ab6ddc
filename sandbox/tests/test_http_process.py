"""Emulators as processes: start, stop, options, and not outliving their parent."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from sandbox.placeholder import PLACEHOLDER_URI

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            yield running, line.rpartition(" ")[2].strip()
        finally:
            running.kill()


@pytest.mark.parametrize(
    "arguments",
    [
        ("sandbox.replicate",),
        ("sandbox.pinata", "--store", "{tmp}"),
        ("sandbox.gateway", "--store", "{tmp}"),
    ],
)
def test_a_process_serves_until_it_is_told_to_end(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    filled = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    with process(*filled, "--port", "0") as (running, url):
        health = requests.get(f"{url}/_sandbox/health", timeout=60).json()
        assert health["name"] == arguments[0].removeprefix("sandbox.")
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0


def test_the_gateway_shows_what_an_unrevealed_token_points_at(tmp_path: Path) -> None:
    with process("sandbox.gateway", "--store", str(tmp_path), "--port", "0") as (_, url):
        uri = PLACEHOLDER_URI
        for kind in ("application/json", "image/png"):
            assert re.fullmatch("ipfs://[a-zA-Z0-9]+", uri)
            answer = requests.get(f"{url}/ipfs/{uri.removeprefix('ipfs://')}", timeout=60)
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)
            uri = answer.json()["image"] if kind == "application/json" else ""


def test_options_reach_the_emulator(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    options = ("--seed", "9", "--faults", '{"throttle_rate": 1}', "--log-file", str(log))
    with process("sandbox.replicate", "--port", "0", *options) as (_, url):
        faults = requests.get(f"{url}/_sandbox/faults", timeout=60).json()
        assert (faults["seed"], faults["throttle_rate"]) == (9, 1)
        assert requests.get(f"{url}/v1/account", timeout=60).status_code == 429
        assert json.loads(log.read_text())["fault"] == "throttle"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--faults", '{"nonsense": 1}'), 2, "nonsense"),
        (("--faults", "no json"), 2, "--faults"),
        (("--generation-seconds", "3:1"), 2, "--generation-seconds"),
    ],
)
def test_wrong_options_end_with_a_message(
    options: tuple[str, ...], code: int, message: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "sandbox.replicate", "--port", "0", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == code
    assert message in ended.stderr


def test_a_taken_port_ends_with_a_message() -> None:
    with process("sandbox.replicate", "--port", "0") as (_, url):
        port = url.rpartition(":")[2]
        ended = subprocess.run(
            [sys.executable, "-m", "sandbox.replicate", "--port", port],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 1
        assert "address already in use" in ended.stderr


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc")
def test_an_idle_process_uses_next_to_no_cpu() -> None:
    with process("sandbox.replicate", "--port", "0") as (running, url):
        requests.get(f"{url}/_sandbox/health", timeout=60)
        before = cpu_seconds(running.pid)
        time.sleep(2)
        assert cpu_seconds(running.pid) - before < 0.2


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "sandbox.replicate", "--port", "0"],
                         stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline().split()[-1], flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's prctl")
def test_an_emulator_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().split()
        assert requests.get(f"{url}/_sandbox/health", timeout=60).status_code == 200
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 60
        while _alive(int(pid)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not _alive(int(pid))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # where nobody reaps orphans, an ended one stays as a zombie
