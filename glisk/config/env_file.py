"""Read a .env file, and the process environment over it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

_LINE = re.compile(r"(?:export )?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_QUOTED = re.compile(r"""(['"])(.*?)\1(?:\s+#.*)?""")
_COMMENT = re.compile(r"\s#.*")


class ConfigurationError(ImproperlyConfigured):
    """The environment is faulty; the message names every fault."""


def read_env_file(env_file: Path) -> dict[str, str]:
    """Return the values of a .env file; the process environment stays as it is.

    A line is `NAME=value`, blank, or a comment. ` #` begins a comment after a value as well, but
    not within quotes; nothing else is interpreted. Of two lines for one name the last counts.

    Raises:
        ConfigurationError: there is no such file, it cannot be read, or a line is neither.
    """
    try:
        lines = env_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"The .env file {env_file} (GLISK_ENV_FILE) cannot be read: {reason}"
        ) from error
    values = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise ConfigurationError(f"Line {number} of {env_file} is not NAME=value.")
        quoted = _QUOTED.fullmatch(found[2].strip())
        values[found[1]] = quoted[2] if quoted else _COMMENT.sub("", found[2]).strip()
    return values


def read_environment(default_file: Path) -> dict[str, str]:
    """Return the process environment over the values of a .env file.

    The file is `default_file` if that exists, or the one that GLISK_ENV_FILE names, which must
    exist; empty means none.
    """
    given = os.environ.get("GLISK_ENV_FILE", str(default_file) if default_file.is_file() else "")
    return {**(read_env_file(Path(given)) if given else {}), **os.environ}
