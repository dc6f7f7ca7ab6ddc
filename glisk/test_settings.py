"""Settings of the test suite: the sandbox's public values over an empty environment.

The database is DATABASE_URL if that is set, else a PostgreSQL container if a Docker engine
answers, else the embedded server. Processes that a test starts inherit the same variables.
"""

import os
from pathlib import Path

from glisk.config import read_env_file

_BASE_DIR = Path(__file__).resolve().parent.parent
_VARIABLES = read_env_file(_BASE_DIR / ".env.example")

# Nothing of the developer's own environment decides how a test ends, but for the database.
_KEPT = ("DATABASE_URL",)
for _name, _value in _VARIABLES.items():
    if _name not in _KEPT:
        os.environ[_name] = _value
os.environ.update(
    APP_ENV="test",
    GLISK_ENV_FILE="",
    LOG_LEVEL="WARNING",
    SECRET_KEY="test-only-secret-key-that-everybody-may-know-0000000000000",
    EMBEDDED_DATABASE_DIR=str(_BASE_DIR / "var" / "test-postgres"),
    PUBLIC_BASE_URL="",
)
os.environ.setdefault("DATABASE_URL", "")

from glisk.settings import *  # noqa: E402, F403 - the variables above must come first

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
