"""What no test can see, since it is not behaviour: the source names what the documents explain.

    python -m glisk.tests.lint_source

Every loud line of the log stands in docs/logs.md, every variable of the settings in .env.example,
and every secret of the sandbox where an image without the sandbox finds it; and nothing else does.
docs/configuration.md is what the settings and .env.example say.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from glisk.config.env_file import read_env_file
from glisk.tests.configuration_reference import outdated

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("authors", "glisk", "reveals", "tokens", "webhooks")
LOUD = {"warning", "error", "exception", "critical"}
# Their names are put together, or handed on.
COMPOSED = {
    "cancel_failed", "chain_unread", "keeper_blocked", "keeper_empty", "keeper_low",
    "marketplace_refresh_failed", "poll_failed", "reveal_refused", "reveal_replaced",
    "reconciliation_failed", "send_failed", "task_failed", "task_interrupted",
}  # fmt: skip
SECRET_NAME = re.compile(r"(^|_)(secret|token|jwt|key)$", re.IGNORECASE)


def main() -> int:
    faults = [*loud_lines(), *variables(), *sandbox_secrets(), *outdated()]
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    return bool(faults)


def loud_lines() -> Iterator[str]:
    """Whoever reads an error at night finds its name in docs/logs.md."""
    lines = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[1] for line in lines if line.startswith("| `")]
    explained = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    said = {name for tree in _sources(*PACKAGES) for name in _loud_events(tree)} | COMPOSED
    yield from (f"docs/logs.md does not explain {name}" for name in sorted(said - explained))
    yield from (f"docs/logs.md: nothing says {name}" for name in sorted(explained - said))


def variables() -> Iterator[str]:
    """`.env.example` and the settings name the same variables."""
    read = {name for tree in _sources("glisk/settings") for name in _variables_read(tree)}
    shown = set(read_env_file(ROOT / ".env.example"))
    yield from (f".env.example does not show {name}" for name in sorted(read - shown))
    yield from (f".env.example: no setting reads {name}" for name in sorted(shown - read))


def sandbox_secrets() -> Iterator[str]:
    """An image without the sandbox knows which secrets are public: they are in .env.example.

    Those of the emulators and what docker/ sets; the development keys are known otherwise.
    """
    named = {pair for tree in _sources("sandbox") for pair in _names_and_texts(tree)}
    for path in (ROOT / "docker").glob("*.env"):
        named |= set(read_env_file(path).items())
    found = {text for name, text in named if SECRET_NAME.search(name)}
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    for text in found - set(re.split(r"[\s=]+", example)):
        if len(text) >= 10 and " " not in text:
            yield f".env.example does not show {text}, which the sandbox takes for a secret"


def _sources(*folders: str) -> Iterator[ast.AST]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not {"tests", "node_modules"} & set(path.relative_to(ROOT).parts):
                yield ast.parse(path.read_text(encoding="utf-8"))


def _loud_events(tree: ast.AST) -> Iterator[str]:
    """Yield the name in `logger.error("name", …)` and `logging.getLogger(…).error("name", …)`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = ast.unparse(node.func.value)
        is_logger = owner == "logger" or owner.startswith("logging.getLogger(")
        if is_logger and node.func.attr in LOUD and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)


def _variables_read(tree: ast.AST) -> Iterator[str]:
    """Yield the first argument of every `env.<reader>("NAME", …)`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id == "env" and node.args:
            name = ast.literal_eval(node.args[0])  # fails unless the name is spelled out
            yield name
            if node.func.attr == "private_key":
                yield f"{name}_FILE"


def _names_and_texts(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield what is called by a name: assigned constants, and the defaults of arguments."""
    for node in ast.walk(tree):
        pairs: list[tuple[str, ast.expr | None]] = []
        if isinstance(node, ast.Assign):
            pairs = [(t.id, node.value) for t in node.targets if isinstance(t, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            pairs = [(node.target.id, node.value)]
        elif isinstance(node, ast.arguments):
            pairs = [(a.arg, d) for a, d in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
        for name, value in pairs:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield name, value.value


if __name__ == "__main__":
    sys.exit(main())
