"""Runs a benchmark as a user does, with few rounds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from sandbox.world import BASE_DIR


def measured(name: str, *arguments: str, into: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures and their floor; `into` is the file for the result."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, *arguments, "--json", str(into)],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(into.read_text())
    assert set(found["floor"]) <= set(found["figures"])
    return found["figures"], found["floor"]
