"""What the settings say under many environments, read in forks of one process.

A start of Python with Django costs two seconds of CPU, a fork that reads the settings a tenth.
"""

import atexit
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from glisk.config import read_env_file

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = read_env_file(ROOT / ".env.example")
PRODUCTION = read_env_file(Path(__file__).parent / "data" / "production.env")
NO_DATABASE = {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"}
MANAGE = ("manage.py", "check")
# The worker, which ends at once if the environment lets it start.
WORKER = ("manage.py", "qcluster", "--run-once")
GUNICORN = ("-m", "gunicorn")
_READER = """
import json, os, sys
import django.templatetags.static, eth_keys.datatypes, eth_utils.address
import glisk.database, glisk.logging
from glisk.config import ConfigurationError

for line in sys.stdin:
    variables, arguments, names = json.loads(line)
    if os.fork() == 0:
        os.environ.clear()
        os.environ.update(variables)
        sys.argv = arguments
        try:
            import glisk.settings
            answer = "", {name: getattr(glisk.settings, name) for name in names}
        except ConfigurationError as error:
            answer = str(error), {}
        print(json.dumps(answer), flush=True)
        os._exit(0)
    os.wait()
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
def _reader() -> "subprocess.Popen[str]":
    reader = subprocess.Popen(
        [sys.executable, "-c", _READER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(reader.communicate)
    return reader


def read_settings(
    variables: dict[str, str], *names: str, command: tuple[str, ...] = MANAGE
) -> tuple[str, dict[str, Any]]:
    """Return what is wrong with an environment, or nothing, and these settings."""
    reader = _reader()
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write(json.dumps([only(variables), command, names]) + "\n")
    reader.stdin.flush()
    said, values = json.loads(reader.stdout.readline())
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
