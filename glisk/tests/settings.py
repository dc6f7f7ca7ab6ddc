"""Settings of the test suite: the sandbox's public values over an empty environment.

The database is DATABASE_URL if that is set, else a PostgreSQL container if a Docker engine
answers, else the embedded server in var/test-postgres. Processes that a test starts inherit the
same variables.
"""

import atexit
import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

from glisk.config.env_file import read_env_file

if "pytest" in sys.modules:
    gc.disable()  # until the tests are collected (conftest.py): a fifth of the time until then

_BASE_DIR = Path(__file__).resolve().parents[2]

# Nothing of the developer's own environment decides how a test ends, but for the database.
_database_url = os.environ.get("DATABASE_URL", "")
_metrics = {name: os.environ[name] for name in os.environ if name.startswith("METRICS_")}
os.environ.update(
    read_env_file(_BASE_DIR / ".env.example"),
    APP_ENV="test",
    GLISK_ENV_FILE="",
    LOG_LEVEL="WARNING",
    DATABASE_URL=_database_url,
    EMBEDDED_DATABASE_DIR=str(_BASE_DIR / "var" / "test-postgres"),
    PUBLIC_BASE_URL="",
)
os.environ.update(_metrics)  # what a test gives its processes
if not _database_url:
    from glisk.tests.containers import postgres_url

    os.environ["DATABASE_URL"] = postgres_url() or ""

from glisk.settings import *  # noqa: E402, F403 - the variables above must come first
from glisk.settings import DATABASES  # noqa: E402 - the same

# Two runs at once do not meet: each has a database of its own.
DATABASES["default"]["TEST"] = {"NAME": f"test_glisk_{os.getpid()}"}
# The processes of a run count for themselves; those that tests start, where these say.
if "METRICS_DIR" not in _metrics:
    METRICS_DIR = _BASE_DIR / "var" / "test-metrics"
if "pytest" in sys.modules:
    METRICS_DIR = Path(tempfile.mkdtemp(prefix="glisk-metrics-"))
    _made_by = os.getpid()

    @atexit.register
    def _remove_counts() -> None:
        if os.getpid() == _made_by:  # and not of a child that it forked
            shutil.rmtree(METRICS_DIR, ignore_errors=True)


# What a crash of the machine would lose is of no use to a test.
DATABASES["default"]["OPTIONS"]["options"] += " -c synchronous_commit=off"

# The tests sign, too; else only the worker reads the key.
KEEPER_PRIVATE_KEY = os.environ["KEEPER_PRIVATE_KEY"]

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
