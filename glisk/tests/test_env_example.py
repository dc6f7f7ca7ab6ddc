"""`.env.example` explains each of its variables; `make lint` holds the settings against it."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
VARIABLE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")


def documented() -> list[str]:
    return [found[1] for line in LINES if (found := VARIABLE.fullmatch(line))]


def test_every_variable_is_explained() -> None:
    """A comment stands above it, or above the lines of variables that it belongs to."""
    for name in documented():
        number = next(n for n, line in enumerate(LINES) if line.startswith(f"{name}="))
        while VARIABLE.fullmatch(LINES[number]):
            number -= 1
        assert LINES[number].startswith("# "), name
        assert not LINES[number].startswith("# ---"), name


def test_every_line_is_a_comment_a_variable_or_blank_and_no_variable_stands_twice() -> None:
    for line in LINES:
        assert not line or line.startswith("#") or VARIABLE.fullmatch(line), line
    assert len(documented()) == len(set(documented()))
