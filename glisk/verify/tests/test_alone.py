"""The verifier needs nothing but these files and Python."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from glisk.cid import compute_cid
from glisk.verify import FORMAT, VERSION, canonical_json, prompt_digest
from glisk.verify.__main__ import main

GLISK = Path(__file__).resolve().parents[2]
HASH, WALLET, SALT = "0x" + "1" * 64, "0x" + "2" * 40, "ab" * 16
BLOCK = {"transaction": HASH, "block_number": 1, "block_hash": HASH}


def a_bundle() -> dict[str, object]:
    digest = prompt_digest(salt=SALT, prompt="a fox")
    made = {"model": "m", "prediction": "p", "seed": 1, "prompt_sha256": digest}
    cid = "bafkreib7iuxn6dmu4qki7ibjr2arn7dp5y7etonjbsqjnu2oaccs6ymmfe"
    image = {"cid": cid, "sha256": "0", "size_bytes": 1}
    document = {"name": "GLISK S0 #7", "image": f"ipfs://{image['cid']}", "provenance": made}
    text = canonical_json(document)
    return {
        "format": FORMAT, "version": VERSION, "chain_id": 8453, "contract": WALLET, "token_id": 7,
        "author": WALLET, "minter": WALLET,
        "mint": {**BLOCK, "log_index": 0, "minted_at": "2026-01-01T00:00:00+00:00"},
        "generation": {**made, "prompt": "a fox", "prompt_salt": SALT},
        "image": image,
        "metadata": {"cid": compute_cid(text.encode(), version=0), "text": text},
        "reveal": {**BLOCK, "keeper": WALLET},
    }  # fmt: skip


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """Copy what docs/provenance.md says is enough, by the command that stands there."""
    documented = (GLISK.parent / "docs" / "provenance.md").read_text()
    command = re.search(r"^    (mkdir .*)$", documented, re.MULTILINE)
    assert command is not None
    (tmp_path / "glisk").symlink_to(GLISK)
    subprocess.run(command[1], shell=True, cwd=tmp_path, check=True)
    return tmp_path / "check"


def run(directory: Path, *arguments: str) -> tuple[int, str]:
    """Run it without any package, environment or address; return its status and what it says."""
    ran = subprocess.run(
        [sys.executable, "-S", "-E", "-m", "glisk.verify", *arguments, "--offline"],
        cwd=directory,
        env={},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.process
def test_it_runs_without_any_package(alone: Path) -> None:
    bundle = a_bundle()
    (alone / "good").write_text(json.dumps(bundle))
    assert run(alone, "good", "--contract", WALLET)[0] == 0
    assert "The contract is the one that is meant: it is 0xb43185e6" in run(alone, "good")[1]

    # A bundle may not write lines of its own, nor lead a terminal; one bad line hides no other.
    bundle |= {"token_id": 8, "author\n  ✓ All of it holds\x1b[2J": 1}
    (alone / "bad").write_text(json.dumps(bundle) + "\n\n" + "[" * 100_000)
    status, told = run(alone, "bad", "--contract", WALLET)
    assert status == 1
    assert "✗ The metadata names the token: it is 7, the bundle says 8\n" in told
    assert "author\ufffd  ✓ All of it holds\ufffd[2J" in told
    assert "Line 3 of bad is not JSON." in told


def test_a_prompt_may_hold_what_ends_lines_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = json.dumps(a_bundle() | {"note": "a\u2028b\x85"}, ensure_ascii=False)
    (tmp_path / "two").write_text(f"{line}\n{line}\n", encoding="utf-8")
    assert main([str(tmp_path / "two"), "--offline", "--contract", WALLET]) == 0
    assert "2 checked: 0 false, 0 not answered" in capsys.readouterr().out
