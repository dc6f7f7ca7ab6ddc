"""Writes docs/configuration.md; lint_source tells whether it is out of date.

    python -m glisk.tests.configuration_reference

The words are those of `.env.example`, kinds, bounds and defaults those that the settings ask for.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from glisk.config import REQUIRED, Environment
from glisk.config.env_file import read_env_file

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "configuration.md"
SECTION = re.compile(r"# --- (.+?) -+")
LINE = re.compile(r"([A-Z][A-Z0-9_]*)=.*")
HEAD = """\
# Configuration

Everything is an environment variable or a line of `.env`; what stands in the process environment
wins. A missing or senseless value stops every start with one message that names them all, a name
that nothing reads is warned of with the name that was meant; `manage.py check --deploy` finds what
is only dangerous, `manage.py check_setup` what only the vendors and the chain can tell.

What is called a secret may stand in a file of its own instead: `SECRET_KEY_FILE` is the path of
what would be `SECRET_KEY`, and so on.

Numbers have plain digits and at most one point (`1.25`). Defaults are those of `APP_ENV=production`
on `NETWORK=BASE_MAINNET`. Written by `make configuration` from the settings and `.env.example`;
`make lint` holds it up to date.
"""


class Entry(NamedTuple):
    """What `.env.example` says of one variable, or of some together."""

    section: str
    words: str
    names: list[str]


def main() -> int:
    REFERENCE.write_text("".join(_pages(_asked())), encoding="utf-8")
    return 0


def outdated() -> Iterator[str]:
    """Yield what is wrong with the reference, and with the defaults in `.env.example`."""
    env = _asked()
    yield from _contradictions(env)
    written = REFERENCE.read_text(encoding="utf-8") if REFERENCE.is_file() else ""
    if written != "".join(_pages(env)):
        yield "docs/configuration.md is out of date: run 'make configuration'"


def _asked() -> Environment:
    """Return what the settings ask for in production on the main network."""
    sample = Path(__file__).parent / "data" / "production.env"
    given = {**read_env_file(sample), "NETWORK": "BASE_MAINNET", "GLISK_ENV_FILE": ""}
    os.environ.clear()
    os.environ.update(given)
    from glisk.settings.processes import env

    return env


def _entries() -> Iterator[Entry]:
    section = ""
    words: list[str] = []
    names: list[str] = []
    for line in [*(ROOT / ".env.example").read_text(encoding="utf-8").splitlines(), "# end"]:
        if found := LINE.fullmatch(line):
            names.append(found[1])
        elif line.startswith("#"):
            if names:
                yield Entry(section, " ".join(words), names)
                words, names = [], []
            if heading := SECTION.fullmatch(line):
                section, words = heading[1], []
            else:
                words.append(line.removeprefix("#").strip())


def _pages(env: Environment) -> Iterator[str]:
    yield HEAD
    section = ""
    for entry in _entries():
        if entry.section != section:
            section = entry.section
            yield f"\n## {section}\n\n| Variable | Value | Default | Meaning |\n|---|---|---|---|\n"
        cells = (
            [f"`{name}`" for name in entry.names],
            [_in_markdown(_kind(env, name)) for name in entry.names],
            [_default(env.asked[name].default) for name in entry.names],
            [_in_markdown(entry.words)],
        )
        yield "".join(f"| {'<br>'.join(cell)} " for cell in cells) + "|\n"


def _kind(env: Environment, name: str) -> str:
    secret = " (secret)" if name in env.secret_names else ""
    return env.asked[name].wanted.removesuffix(" (digits and one point, as 1.25)") + secret


def _default(value: Any) -> str:
    if value is REQUIRED:
        return "required"
    if value in ("", []):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = ",".join(value) if isinstance(value, list) else _plain(value)
    return f"`{text.removeprefix(f'{ROOT}/')}`"


def _plain(value: Any) -> str:
    """Return a number as it is written in an environment: 5, not 5.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _in_markdown(text: str) -> str:
    return re.sub(r"([*|<_])", r"\\\1", text)


def _contradictions(env: Environment) -> Iterator[str]:
    """Yield the variables whose words give another default than the settings."""
    for entry in _entries():
        for name in entry.names:
            default = env.asked[name].default
            if isinstance(default, int | float) and not isinstance(default, bool):
                number = re.escape(_plain(default))
                if not re.search(rf"(?<![\d.]){number}(?![\d]|\.\d)", entry.words):
                    yield f".env.example does not say of {name} that its default is {default}"


if __name__ == "__main__":
    sys.exit(main())
