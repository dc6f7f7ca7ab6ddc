"""Every module of glisk/ is in the leaf library's import contract or known to stand above."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# They put the apps together, so they may import them.
ABOVE_THE_APPS = {
    "apps",
    "console",
    "management",
    "migrations",
    "settings",
    "tests",
    "urls",
    "wsgi",
}


def test_no_module_escapes_the_contract_of_the_leaf_library() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contracts = {contract["name"]: contract for contract in tool["importlinter"]["contracts"]}
    leaf = contracts["The leaf library knows no app"]["source_modules"]
    folder = ROOT / "glisk"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert files | packages == {name.removeprefix("glisk.") for name in leaf} | ABOVE_THE_APPS
