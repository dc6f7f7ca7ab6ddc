"""The suite's own rules: loopback only, nothing skipped in CI, each test in one tier."""

import os
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


def run_sample(
    tmp_path: Path, *options: str, sample: str = SAMPLE, browser: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run pytest over a sample module with this project's conftest.py."""
    (tmp_path / "test_sample.py").write_text(sample)
    empty = tmp_path / "empty"
    empty.mkdir(exist_ok=True)
    environment = {**os.environ, "PATH": str(empty)}
    environment.pop("CHROMIUM_BINARY", None)
    if browser:
        environment["CHROMIUM_BINARY"] = "/bin/true"
    plugins = ("-c", str(ROOT / "pytest.ini"), "-p", "no:cacheprovider", "-p", "conftest")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options, str(tmp_path / "test_sample.py")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.process
def test_without_a_browser_its_tests_are_skipped_by_name(tmp_path: Path) -> None:
    done = run_sample(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "no browser: none of chromium" in done.stdout
    assert "2 skipped, 1 deselected" in done.stdout


@pytest.mark.process
def test_required_browser_that_is_missing_stops_the_run(tmp_path: Path) -> None:
    done = run_sample(tmp_path, "--require-browser")
    assert done.returncode == 4
    assert "no browser: none of chromium" in done.stderr


@pytest.mark.process
def test_with_a_required_browser_every_other_skip_fails(tmp_path: Path) -> None:
    done = run_sample(tmp_path, "--require-browser", browser=True)
    assert done.returncode == 1
    assert "nothing may be skipped here" in done.stdout
    assert "1 failed, 1 passed, 1 deselected" in done.stdout


@pytest.mark.process
def test_a_test_is_in_one_tier_and_a_fast_one_starts_no_process(tmp_path: Path) -> None:
    double = "import pytest\n@pytest.mark.node\n@pytest.mark.plans\ndef test_it(): pass\n"
    done = run_sample(tmp_path, sample=double)
    assert done.returncode == 4
    assert "is in more than one tier: ['node', 'plans']" in done.stderr
    starts = "import subprocess\ndef test_it(): subprocess.run(['true'])\n"
    done = run_sample(tmp_path, sample=starts)
    assert done.returncode == 1
    assert "a fast test starts no process" in done.stdout
