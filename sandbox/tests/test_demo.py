"""The demo: what it mints, what it shows, and whole runs of it as a stranger starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import psutil
import pytest
import requests
from rich.console import Console

from glisk.tests.waiting import eventually
from sandbox.accounts import COLLECTORS, CONTRACT_ADDRESS, KEEPER, STRANGER
from sandbox.chain import Reveal
from sandbox.demo.people import CAST, UNREGISTERED, plan_mints
from sandbox.demo.report import gas_table
from sandbox.demo.screen import draw, plain
from sandbox.demo.watching import MinedReveal, Snapshot
from sandbox.world import BASE_DIR, World

# --- what is minted and shown ----------------------------------------------------------------


def test_the_plan_mints_just_so_many_tokens_with_everybody_in_it() -> None:
    for tokens in (1, 3, 4, 24, 500):
        mints = [mint for wave in plan_mints(tokens, 7) for mint in wave]
        assert sum(mint.quantity for mint in mints) == tokens
        assert all(1 <= mint.quantity <= 50 for mint in mints)
    assert plan_mints(24, 7) == plan_mints(24, 7) != plan_mints(24, 8)
    mints = [mint for wave in plan_mints(24, 7) for mint in wave]
    assert {mint.author for mint in mints} == {*(author.wallet for author in CAST), UNREGISTERED}
    assert {mint.collector for mint in mints} == set(range(1, 1 + len(COLLECTORS)))


def test_picture_and_line_show_states_transaction_and_costs() -> None:
    snapshot = Snapshot(
        block=12,
        statuses={1: "revealed", 2: "generating", 3: "failed"},
        in_flight=[("0x" + "ab" * 32, 4)],
        reveals=[MinedReveal("0x" + "cd" * 32, 11, 1, 119_941, 10**12)],
        predictions=3,
        vendor_usd=0.009,
    )
    console = Console(file=StringIO(), width=118)
    console.print(draw(snapshot, expected=5, seconds=3.21))
    text = cast(StringIO, console.file).getvalue()
    for part in ("block 12", "generating", "failed", "0xababab", "119,941", "$0.009", "3.2 s"):
        assert part in text
    assert text.count("·") == 2  # two tokens are not minted yet
    line = plain(snapshot, expected=5)
    assert line == "block 12  generating 1  revealed 1  failed 1  not minted yet 2  in flight 1"


@pytest.mark.parametrize("width", [50, 80, 100, 118])
def test_the_picture_fits_and_cuts_no_word_and_no_count(width: int) -> None:
    snapshot = Snapshot(
        block=12,
        statuses=dict.fromkeys(range(1, 1235), "generating"),
        in_flight=[("0x" + "ab" * 32, 40), ("0x" + "cd" * 32, 50)],
        reveals=[MinedReveal("0x" + "cd" * 32, 11, 1, 119_941, 10**12)],
        predictions=1234,
        vendor_usd=3.702,
    )
    console = Console(file=StringIO(), width=width)
    console.print(draw(snapshot, expected=2000, seconds=3.21, width=width))
    text = cast(StringIO, console.file).getvalue()
    assert max(map(len, text.splitlines())) == width
    assert re.search(r"generating +━+─+ +1234 ", text)
    for words in ("keeper paid", "119,941", "0.00000100 ETH", "1234 predictions, $3.702"):
        assert words in text
    assert text.count("…") == 2  # the hashes' own


def test_the_gas_of_the_reveals_fits_into_80_columns() -> None:
    tokens = tuple(range(1, 51))
    reveal = Reveal("0x" + "ab" * 32, 12345, 0, "0x", tokens, (), 2_199_410, 0, 10**9)
    console = Console(file=StringIO(), width=80)
    console.print(gas_table([reveal]))
    text = cast(StringIO, console.file).getvalue()
    for whole in ("0xababab…abab", "gas per token", "keeper paid", "0.00219941 ETH"):
        assert whole in text


# --- whole runs ----------------------------------------------------------------------------

_PATIENCE_SECONDS = 240
_long = pytest.mark.timeout(600)


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not below pytest's own folder: see sandbox/tests/test_kills.py.
    with TemporaryDirectory(prefix="glisk-demo-", ignore_cleanup_errors=True) as made:
        yield Path(made) / "demo"


def _run(directory: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    """Return the exit status of a whole run, and what it says."""
    with _running(directory, "--exit", *arguments, **variables) as process:
        output, _ = process.communicate(timeout=_PATIENCE_SECONDS)
    return process.returncode, output


@contextmanager
def _running(directory: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    options = ["--directory", str(directory), "--free-ports", "--block-time", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox.demo", *options, *arguments],
        cwd=BASE_DIR,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def _left_behind(directory: Path) -> list[str]:
    """Return the processes that work in the directory, by command line or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            if process.pid != os.getpid() and any(str(directory) in word for word in words):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def _until(process: subprocess.Popen[str], text: str) -> str:
    """Read the output up to the line that holds `text`."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    pytest.fail(f"ended before {text!r}:\n{''.join(lines)}")


@_long
@pytest.mark.usefixtures("anvil_binary")
def test_it_stays_up_until_ctrl_c_and_ends_with_0_only_if_every_token_is_right(
    directory: Path,
) -> None:
    # Nothing of the developer's own environment may decide how it ends.
    poison = {"DATABASE_URL": "postgres://nowhere/x", "PINATA_GATEWAY": "x", "NETWORK": "MOON"}
    poison |= {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    with _running(directory, "--tokens", "5", **poison) as process:
        output = _until(process, "Ctrl-C ends it")
        for part in ("gas per token", "/admin/", "/docs", "operator", " reveals"):
            assert part in output
        assert output.count("✓") >= 12
        assert "✗" not in output
        assert (directory / "contact-sheet.png").read_bytes().startswith(b"\x89PNG")
        status, said = _run(directory)
        assert (status, "Another world runs" in said) == (1, True)
        _look_around(output)
        _verify(directory)
        assert len(_left_behind(directory)) > 8  # the search for leftovers finds what there is

        process.send_signal(signal.SIGINT)
        assert process.wait(_PATIENCE_SECONDS) == 0
    assert _left_behind(directory) == []

    # What was pinned changes afterwards: the chain and the database know nothing of it.
    contents = [path for path in (directory / "ipfs").rglob("*") if path.is_file()]
    metadata = next(path for path in contents if b'"GLISK S0 #2"' in path.read_bytes())
    metadata.write_bytes(metadata.read_bytes().replace(b"Season 0", b"Season 9"))
    status, said = _run(directory, "--keep", "--tokens", "1")
    assert status == 1, said
    assert "token 2: the metadata's bytes do not hash to" in said
    assert "✗" in said
    assert "ends now; without --exit it stays up" in said
    for ended in ("/admin/", "/docs", "operator /"):  # servers that have ended, and a password
        assert ended not in said
    assert re.search(r"exactly one paid prediction per token +6", said)
    assert _left_behind(directory) == []


def _verify(directory: Path) -> None:
    """Have strangers check every token, with no package at all."""
    world = World.find(directory)
    exported = world.manage("export_provenance")
    sources = ["--node", world.ports.url("node"), "--gateway", world.ports.url("gateway")]
    verifier = [sys.executable, "-S", "-E", "-m", "glisk.verify", "-", *sources]
    for bundles, status, told in (
        (exported, 0, "5 checked: 0 false, 0 not answered"),
        (exported.replace(KEEPER.address, STRANGER.address, 1), 1, "5 checked: 1 false"),
    ):
        ran = subprocess.run(
            [*verifier, "--contract", CONTRACT_ADDRESS],
            cwd=BASE_DIR, env={}, input=bundles, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (ran.returncode, told in ran.stdout) == (status, True), ran.stdout + ran.stderr
    assert "✗ The reveal is by this keeper" in ran.stdout


def _look_around(output: str) -> None:
    """Visit the addresses that the demo printed, and log in as it says."""
    found = re.search(r"(http://[0-9.:]+)/admin/ +operator / (\S+)", output)
    assert found is not None
    base_url, password = found.groups()
    with requests.Session() as browser:
        browser.trust_env = False
        assert "#1" in browser.get(f"{base_url}/", timeout=60).text
        assert browser.get(f"{base_url}/docs", timeout=60).status_code == 200
        browser.get(f"{base_url}/admin/login/", timeout=60)
        form: dict[str, Any] = {"username": "operator", "password": password, "next": "/admin/"}
        form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
        answer = browser.post(f"{base_url}/admin/login/", data=form, timeout=60)
        assert answer.url == f"{base_url}/admin/"
        assert answer.status_code == 200


@_long
@pytest.mark.usefixtures("anvil_binary")
@pytest.mark.parametrize(
    ("number", "moment"), [(signal.SIGTERM, "EVM node, contract"), (signal.SIGKILL, "generating")]
)
def test_a_signal_in_the_middle_leaves_nothing_behind(
    directory: Path, number: int, moment: str
) -> None:
    with _running(directory, "--tokens", "40") as process:
        _until(process, moment)
        process.send_signal(number)
        assert process.wait(_PATIENCE_SECONDS) == (130 if number == signal.SIGTERM else -9)
    seconds = 0 if number == signal.SIGTERM else 60
    eventually(lambda: not _left_behind(directory), what="the end of all", seconds=seconds)


def test_a_node_that_cannot_be_installed_is_said_plainly(directory: Path) -> None:
    status, said = _run(directory, ANVIL_BINARY="/nonexistent/anvil")
    assert status == 1
    assert "The local EVM node could not be installed." in said
    assert "ANVIL_BINARY" in said
    assert "Traceback" not in said
    assert _left_behind(directory) == []
