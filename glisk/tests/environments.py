"""What the settings say under many environments."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from glisk.config.env_file import read_env_file
from glisk.tests.forks import ROOT, Forks

EXAMPLE = read_env_file(ROOT / ".env.example")
PRODUCTION = read_env_file(Path(__file__).parent / "data" / "production.env")
NO_DATABASE = {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"}
MANAGE = ("manage.py", "check")
WORKER = ("manage.py", "qcluster")
GUNICORN = ("-m", "gunicorn")
_PROLOGUE = """
import django.templatetags.static, eth_keys.datatypes, eth_utils.address
import glisk.database, glisk.logging
from glisk.config import ConfigurationError
"""
_READ = """
variables, names = json.loads(sys.argv.pop())
os.environ.clear()
os.environ.update(variables)
try:
    import glisk.settings
    answer = "", {name: getattr(glisk.settings, name) for name in names}
except ConfigurationError as error:
    answer = str(error), {}
print(json.dumps(answer))
"""


def only(variables: dict[str, str]) -> dict[str, str]:
    """Return an environment of these variables, and none of our own."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "GLISK_ENV_FILE": "", **NO_DATABASE, **variables}


def start(
    variables: dict[str, str], command: tuple[str, ...] = MANAGE
) -> subprocess.CompletedProcess[str]:
    """Run a command under these variables."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=only(variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@cache
def _forks() -> Forks:
    return Forks(_PROLOGUE)


def read_settings(
    variables: dict[str, str], *names: str, command: tuple[str, ...] = MANAGE
) -> tuple[str, dict[str, Any]]:
    """Return what is wrong with an environment, or nothing, and these settings."""
    done = _forks().run(_READ, *command, json.dumps([only(variables), names]))
    assert done.status == 0, done.errors
    said, values = json.loads(done.output)
    return said, values


def complaint(variables: dict[str, str], command: tuple[str, ...] = MANAGE) -> str:
    """Return the message that ends a start with these variables; nothing if it goes on."""
    return read_settings(variables, command=command)[0]


def faults(changes: dict[str, str], command: tuple[str, ...] = MANAGE) -> list[str]:
    """Return the fault lines that the settings report for .env.example with these changes."""
    lines = complaint({**EXAMPLE, **NO_DATABASE, **changes}, command).splitlines()
    found = [line.removeprefix("  - ") for line in lines if line.startswith("  - ")]
    assert not lines or lines[0] == f"The environment has {len(found)} fault(s):"
    return found
