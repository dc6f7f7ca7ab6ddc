"""The suite's own rules: loopback only, nothing skipped in CI, each test in one tier."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "glisk.example"])
def test_a_test_cannot_leave_this_machine(host: str) -> None:
    with pytest.raises(Exception, match="this machine only"):
        socket.create_connection((host, 80), timeout=1)
    with pytest.raises(Exception, match="this machine only"):
        socket.getaddrinfo(host, 80)


def test_a_http_client_cannot_either() -> None:
    with pytest.raises(Exception, match="this machine only"):
        urlopen("http://glisk.example/", timeout=1)


def test_loopback_and_unix_sockets_are_open(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=1).close()
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=1).close()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        client.connect(str(tmp_path / "s"))


SAMPLE = """
import pytest

@pytest.mark.browser
def test_page(): pass

@pytest.mark.live
def test_vendor(): raise AssertionError("a live test ran")

def test_machine(): pytest.skip("no such machine")
"""
IN_TWO_TIERS = "import pytest\n@pytest.mark.node\n@pytest.mark.plans\ndef test_it(): pass\n"
STARTS_A_PROCESS = "import subprocess\ndef test_it(): subprocess.run(['true'])\n"
# Each run is a fork of one process: its start with this project's plugins takes longest.
_RUNS = """
import json, os, sys
import django, pytest
django.setup()
import sandbox.chain, sandbox.node

for arguments, browser in json.loads(sys.stdin.read()):
    print(flush=True)
    child = os.fork()
    if child == 0:
        os.dup2(1, 2)
        os.environ |= {"CHROMIUM_BINARY": browser} if browser else {}
        os._exit(pytest.main(arguments))
    print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Return the status and output of some runs of pytest with this project's conftest.py."""
    place = tmp_path_factory.mktemp("runs")
    given = []
    wanted = {
        "no browser": (SAMPLE, "", ()),
        "browser missed": (SAMPLE, "", ("--require-browser",)),
        "browser": (SAMPLE, "/bin/true", ("--require-browser",)),
        "two tiers": (IN_TWO_TIERS, "", ()),
        "process": (STARTS_A_PROCESS, "", ()),
    }
    for number, (sample, browser, options) in enumerate(wanted.values()):
        file = place / f"test_sample_{number}.py"
        file.write_text(sample)
        plugins = ("-c", str(ROOT / "pytest.ini"), "-p", "no:cacheprovider", "-p", "conftest")
        given.append([[*plugins, *options, str(file)], browser])
    environment = {
        **os.environ,
        "PATH": str(place),
        "DJANGO_SETTINGS_MODULE": "glisk.tests.settings",
    }
    environment.pop("CHROMIUM_BINARY", None)
    done = subprocess.run(
        [sys.executable, "-c", _RUNS],
        cwd=ROOT,
        env=environment,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    *outputs, _ = re.split(r"^status (\d+)$", done.stdout, flags=re.MULTILINE)
    found = zip(map(int, outputs[1::2]), outputs[::2], strict=True)
    return dict(zip(wanted, found, strict=True))


@pytest.mark.process
def test_without_a_browser_its_tests_are_skipped_by_name(runs: dict[str, tuple[int, str]]) -> None:
    status, output = runs["no browser"]
    assert status == 0, output
    assert "no browser: none of chromium" in output
    assert "2 skipped, 1 deselected" in output


@pytest.mark.process
def test_required_browser_that_is_missing_stops_the_run(runs: dict[str, tuple[int, str]]) -> None:
    status, output = runs["browser missed"]
    assert status == 4
    assert "no browser: none of chromium" in output


@pytest.mark.process
def test_with_a_required_browser_every_other_skip_fails(runs: dict[str, tuple[int, str]]) -> None:
    status, output = runs["browser"]
    assert status == 1
    assert "nothing may be skipped here" in output
    assert "1 failed, 1 passed, 1 deselected" in output


@pytest.mark.process
def test_a_test_is_in_one_tier_and_a_fast_one_starts_no_process(
    runs: dict[str, tuple[int, str]],
) -> None:
    status, output = runs["two tiers"]
    assert status == 4
    assert "is in more than one tier: ['node', 'plans']" in output
    status, output = runs["process"]
    assert status == 1
    assert "a fast test starts no process" in output
