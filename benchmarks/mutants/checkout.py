"""The core, and the copy of the last commit in which it is mutated."""

from __future__ import annotations

import os
import subprocess
from hashlib import sha256
from pathlib import Path

from cosmic_ray.modules import find_modules

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT.parent if ROOT.parent.name == "mutants" else ROOT / "var" / "mutants"
COPY = PLACE / "copy"
# States, transitions, steps that pay, gate, fees, steps that sign, outbox, signatures, CIDs.
CORE = (
    "tokens/states.py",
    "tokens/transitions",
    *(f"tokens/pipeline/{name}.py" for name in ("image_vendors", "jobs", "order", "poll", "find")),
    *(f"tokens/pipeline/{name}.py" for name in ("collect", "failures", "pin", "samples")),
    *(f"reveals/{name}.py" for name in ("gate", "keeper", "outbox")),
    "reveals/pipeline",
    *(f"glisk/clients/signers/{name}.py" for name in ("__init__", "local")),
    "webhooks/authentication.py",
    "authors/signatures",
    "authors/signed_requests.py",
    "glisk/cid.py",
)


def copy_commit() -> None:
    """Bring the copy to the last commit, and go there."""
    COPY.parent.mkdir(parents=True, exist_ok=True)
    if not COPY.exists():
        git(ROOT, "clone", "--quiet", "--no-checkout", str(ROOT), str(COPY))
    git(COPY, "fetch", "--quiet", str(ROOT), "HEAD")
    git(COPY, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
    (ROOT / "var" / "test-postgres").mkdir(exist_ok=True)
    (COPY / "var").mkdir(exist_ok=True)
    for shared in ("sandbox/node_modules", "var/test-postgres"):
        if not (COPY / shared).exists():
            (COPY / shared).symlink_to(ROOT / shared)
    os.chdir(COPY)


def git(where: Path, *arguments: str) -> str:
    found = subprocess.run(["git", "-C", where, *arguments], check=True, stdout=subprocess.PIPE)
    return found.stdout.decode().strip()


def core() -> list[Path]:
    return [path for name in CORE for path in sorted(find_modules([Path(name)]))]


def digest() -> str:
    """Name the state of the core, by which all that was found is kept."""
    return sha256(b"".join(path.read_bytes() for path in core())).hexdigest()[:12]
