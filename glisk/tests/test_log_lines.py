"""Whoever reads an error at night finds its name in docs/logs.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "logs.md"
PACKAGES = ("authors", "glisk", "reveals", "tokens", "webhooks")
LOUD = {"warning", "error", "exception", "critical"}
# Their names are put together, or handed on.
COMPOSED = {
    "cancel_failed", "chain_unread", "keeper_empty", "keeper_low", "marketplace_refresh_failed",
    "poll_failed", "reveal_refused",
    "reconciliation_failed", "send_failed", "task_failed", "task_interrupted",
}  # fmt: skip


def test_every_loud_line_is_explained_and_no_other() -> None:
    said = set(_loud_events()) | COMPOSED
    explained = set(_explained())
    assert sorted(said - explained) == []
    assert sorted(explained - said) == []


def test_composed_names_stand_in_the_code() -> None:
    code = "\n".join(file.read_text(encoding="utf-8") for file in _files())
    for name in COMPOSED - {"keeper_empty", "keeper_low"}:
        assert f'"{name}"' in code, name
    assert '"keeper_" + state.status' in code


def _files() -> Iterator[Path]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            if "tests" not in file.relative_to(ROOT).parts:
                yield file


def _loud_events() -> Iterator[str]:
    for file in _files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _is_loud(node) and node.args:
                event = node.args[0]
                if isinstance(event, ast.Constant) and isinstance(event.value, str):
                    yield event.value


def _is_loud(call: ast.Call) -> bool:
    """Tell whether it is `logger.error(…)` or `logging.getLogger(…).error(…)`."""
    function = call.func
    if not isinstance(function, ast.Attribute) or function.attr not in LOUD:
        return False
    owner = ast.unparse(function.value)
    return owner == "logger" or owner.startswith("logging.getLogger(")


def _explained() -> Iterator[str]:
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            yield from re.findall(r"`([a-z_]+)`", line.split("|")[1])
