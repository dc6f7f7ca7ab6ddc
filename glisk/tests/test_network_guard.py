"""The suite's own rules: loopback only, nothing skipped in CI, each test in one tier."""

import os
import socket
from functools import cache
from pathlib import Path

import pytest

from glisk.tests.forks import ROOT, Forks


def test_a_test_cannot_leave_this_machine() -> None:
    for host in ("192.0.2.1", "2001:db8::1", "glisk.example"):
        with pytest.raises(Exception, match="this machine only"):
            socket.create_connection((host, 80), timeout=1)
        with pytest.raises(Exception, match="this machine only"):
            socket.getaddrinfo(host, 80)


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
_PROLOGUE = "import django, pytest; django.setup(); import sandbox.chain, sandbox.node"
_RUN = """
os.environ |= {"PATH": "/nowhere", "CHROMIUM_BINARY": sys.argv.pop()}
sys.exit(pytest.main(sys.argv))
"""


@cache
def forks() -> Forks:
    settings = {"DJANGO_SETTINGS_MODULE": "glisk.tests.settings"}
    return Forks(_PROLOGUE, {**os.environ, **settings})


def run_sample(
    tmp_path: Path, *options: str, sample: str = SAMPLE, browser: str = ""
) -> tuple[int, str]:
    """Run pytest over a sample module with this project's conftest.py."""
    file = tmp_path / "test_sample.py"
    file.write_text(sample)
    plugins = ("-c", str(ROOT / "pytest.ini"), "-p", "no:cacheprovider", "-p", "conftest")
    done = forks().run(_RUN, *plugins, *options, str(file), browser)
    return done.status, done.output + done.errors


@pytest.mark.process
def test_a_missing_browser_skips_its_tests_by_name_unless_it_is_required(tmp_path: Path) -> None:
    status, output = run_sample(tmp_path)
    assert status == 0, output
    assert "no browser: none of chromium" in output
    assert "2 skipped, 1 deselected" in output

    status, output = run_sample(tmp_path, "--require-browser")
    assert status == 4
    assert "no browser: none of chromium" in output

    status, output = run_sample(tmp_path, "--require-browser", browser="/bin/true")
    assert status == 1  # every other skip fails, too
    assert "nothing may be skipped here" in output
    assert "1 failed, 1 passed, 1 deselected" in output


@pytest.mark.process
def test_a_test_is_in_one_tier_and_a_fast_one_starts_no_process(tmp_path: Path) -> None:
    status, output = run_sample(tmp_path, sample=IN_TWO_TIERS)
    assert status == 4
    assert "is in more than one tier: ['node', 'plans']" in output
    status, output = run_sample(tmp_path, sample=STARTS_A_PROCESS)
    assert status == 1
    assert "a fast test starts no process" in output
