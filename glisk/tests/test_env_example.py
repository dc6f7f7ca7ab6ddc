"""`.env.example` and the settings name the same variables, each with a word of explanation."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ROOT / "glisk" / "settings"
LINES = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
VARIABLE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")


def documented() -> list[str]:
    return [found[1] for line in LINES if (found := VARIABLE.fullmatch(line))]


def read_by_settings() -> set[str]:
    """Return the first argument of every env.<reader>("NAME", …) in the settings."""
    names = set()
    sources = (path.read_text(encoding="utf-8") for path in SETTINGS.glob("*.py"))
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id == "env" and node.args:
            name = ast.literal_eval(node.args[0])  # fails unless the name is spelled out
            names |= {name, f"{name}_FILE"} if node.func.attr == "private_key" else {name}
    return names


def test_every_variable_of_the_settings_is_in_the_example() -> None:
    assert read_by_settings() - set(documented()) == set()


def test_every_variable_of_the_example_is_read_by_the_settings() -> None:
    assert set(documented()) - read_by_settings() == set()


def test_no_variable_stands_twice() -> None:
    assert len(documented()) == len(set(documented()))


@pytest.mark.parametrize("name", documented())
def test_every_variable_is_explained(name: str) -> None:
    """A comment stands above it, or above the lines of variables that it belongs to."""
    number = next(n for n, line in enumerate(LINES) if line.startswith(f"{name}="))
    while VARIABLE.fullmatch(LINES[number]):
        number -= 1
    assert LINES[number].startswith("# ")
    assert not LINES[number].startswith("# ---")


def test_every_line_is_a_comment_a_variable_or_blank() -> None:
    for line in LINES:
        assert not line or line.startswith("#") or VARIABLE.fullmatch(line), line
