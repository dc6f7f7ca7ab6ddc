"""The verifier needs nothing but these files and Python."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from glisk.cid import compute_cid
from glisk.verify import FORMAT, VERSION, prompt_digest

GLISK = Path(__file__).resolve().parents[2]
HASH, WALLET, SALT = "0x" + "1" * 64, "0x" + "2" * 40, "ab" * 16
BLOCK = {"transaction": HASH, "block_number": 1, "block_hash": HASH}


def a_bundle() -> dict[str, object]:
    digest = prompt_digest(salt=SALT, prompt="a fox")
    made = {"model": "m", "prediction": "p", "seed": 1, "prompt_sha256": digest}
    image = {"cid": "bafkreib7iuxn6dmu4qki7ibjr2arn7dp5y7etonjbsqjnu2oaccs6ymmfe", "sha256": "0"}
    document = {"name": "GLISK S0 #7", "image": f"ipfs://{image['cid']}", "provenance": made}
    text = json.dumps(document)
    return {
        "format": FORMAT, "version": VERSION, "chain_id": 8453, "contract": WALLET, "token_id": 7,
        "author": WALLET, "minter": WALLET,
        "mint": {**BLOCK, "log_index": 0, "minted_at": "2026-01-01T00:00:00+00:00"},
        "generation": {**made, "prompt": "a fox", "prompt_salt": SALT},
        "image": image,
        "metadata": {"cid": compute_cid(text.encode(), version=0), "text": text},
        "reveal": {**BLOCK, "keeper": WALLET},
    }  # fmt: skip


@pytest.mark.process
def test_it_runs_without_any_package(tmp_path: Path) -> None:
    alone = tmp_path / "glisk"
    shutil.copytree(GLISK / "verify", alone / "verify")
    shutil.copy(GLISK / "cid.py", alone)
    (alone / "__init__.py").touch()
    bundle = a_bundle()
    for name, token_id, status in (("good", 7, 0), ("bad", 8, 1)):
        (tmp_path / name).write_text(json.dumps(bundle | {"token_id": token_id}))
        ran = subprocess.run(
            [sys.executable, "-S", "-E", "-m", "glisk.verify", name, "--offline"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == status, ran.stdout + ran.stderr
    assert "✗ The metadata names the token: it is 7, the bundle says 8" in ran.stdout
