"""The project's modules that one token's way from webhook to reveal leads through.

    python -m benchmarks.code_path

One token is minted in a local world; the processes of the web server and of the drains note whose
functions run until it is revealed. Their start is not noted: imports, settings, migrations, the
first look around. Neither is what works beside them whether or not there is a token: the
supervisor, the schedules, the recovery.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import call_recorder
from benchmarks.instruments import tree_of
from benchmarks.scene import scene
from sandbox.accounts import AUTHORS
from sandbox.world import BASE_DIR, WorldOptions

PRODUCTION = ("glisk", "authors", "tokens", "reveals", "webhooks")
_START_SECONDS = 8.0  # schedules and the first look at the chain are over
_REVEALED = "SELECT count(*) = 1 FROM tokens_s0 WHERE status = 'revealed'"
_DRAINS = "SELECT pid FROM worker_heartbeats WHERE stage <> 'supervisor'"


def modules_that_ran() -> list[Path]:
    """Return the files of the modules, relative to the checkout."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        shutil.copy(call_recorder.__file__, directory / "sitecustomize.py")
        variables = {
            "PYTHONPATH": name,
            call_recorder.DIRECTORY: name,
            call_recorder.ROOT: f"{BASE_DIR}/",
        }
        with scene("code_path", WorldOptions(block_time=1.0, env=variables)) as place:
            time.sleep(_START_SECONDS)
            (directory / "begin").touch()
            place.world.chain.mint(1, AUTHORS[0].address)
            place.statements.wait_for(_REVEALED, 60)
            drains = place.statements.session.execute(_DRAINS).fetchall()
            web = {process.pid for process in tree_of(place.pids("web"))}
            passed = web | {pid for (pid,) in drains}
            noted = [directory / f"{pid}.txt" for pid in passed]
            found = {line for file in noted if file.exists() for line in file.read_text().split()}
    paths = sorted(Path(file).relative_to(BASE_DIR) for file in found)
    return [path for path in paths if path.parts[0] in PRODUCTION]


def main() -> int:
    """Print each module with its lines, and how many there are."""
    total, paths = 0, modules_that_ran()
    for path in paths:
        lines = len((BASE_DIR / path).read_text().splitlines())
        total += lines
        print(f"{lines:6}  {path}")
    print(f"{total:6}  lines in {len(paths)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
