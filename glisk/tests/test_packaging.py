"""What the files of a release repeat from one another is the same in all of them."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import glisk
import manage

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
HASHED = re.compile(r"^([a-z0-9-]+)==([^ ]+).* \\$", re.MULTILINE)


def pinned(name: str) -> dict[str, str]:
    """Return the versions of a file of requirements, by package."""
    return dict(HASHED.findall((ROOT / name).read_text(encoding="utf-8")))


def asked(requirements: list[Any]) -> dict[str, str]:
    """Return the versions that pyproject.toml asks for, by package."""
    texts = [text for text in requirements if isinstance(text, str) and "==" in text]
    return dict(re.sub(r"\[.*?\]", "", text).replace("_", "-").split("==") for text in texts)


def test_the_version_is_the_same_everywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert PROJECT["project"]["version"] == glisk.__version__
    assert f"ARG VERSION={glisk.__version__}\n" in DOCKERFILE
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(\d.*?)\]", changes, re.MULTILINE)[0] == glisk.__version__
    for option in ("--version", "version"):
        monkeypatch.setattr(sys, "argv", ["manage.py", option])
        assert manage.main() == 0
        assert capsys.readouterr().out == f"{glisk.__version__}\n"


def test_checks_and_image_have_the_same_python() -> None:
    python = PROJECT["tool"]["mypy"]["python_version"]
    assert PROJECT["project"]["requires-python"] == f">={python}"
    assert f"ARG PYTHON_IMAGE=python:{python}-slim\n" in DOCKERFILE
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{python.replace('.', '')}"


def test_the_requirements_hold_what_the_project_asks_for_with_hashes() -> None:
    """`make lock-check` asks the package index, too: whether it is all of what that needs."""
    runtime, extras = (
        PROJECT["project"]["dependencies"],
        PROJECT["project"]["optional-dependencies"],
    )
    groups = PROJECT["dependency-groups"]
    deployed = asked([*runtime, *extras["kms"], *extras["sentry"]])
    developed = deployed | asked([*extras["embedded"], *groups["sandbox"], *groups["dev"]])
    for name, wanted in (("requirements.txt", deployed), ("requirements-dev.txt", developed)):
        found = pinned(name)
        assert wanted.items() <= found.items()
        text = (ROOT / name).read_text(encoding="utf-8")
        assert len(re.findall(r"^\w", text, re.MULTILINE)) == len(found)  # none is without hashes
        assert "://" not in text
    assert pinned("requirements.txt").items() <= pinned("requirements-dev.txt").items()
    assert not pinned("requirements.txt").keys() & asked(extras["embedded"]).keys()


def test_workflows_run_what_a_developer_runs_with_the_same_python_and_few_rights() -> None:
    python = PROJECT["tool"]["mypy"]["python_version"]
    for name, command in (("ci", ".ci/run"), ("audit", "make audit")):
        path = ROOT / ".github" / "workflows" / f"{name}.yml"
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {"contents": "read"}
        (job,) = workflow["jobs"].values()
        assert job["timeout-minutes"] <= 60
        *actions, last = job["steps"]
        assert last["run"].endswith(command)
        (setup,) = (step["with"] for step in actions if "setup-python" in step["uses"])
        assert setup["python-version"] == python


def test_updates_cool_down() -> None:
    text = (ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8")
    updates = yaml.safe_load(text)["updates"]
    assert {update["package-ecosystem"] for update in updates} >= {"uv", "docker", "npm"}
    assert all(update["cooldown"]["default-days"] >= 7 for update in updates)


def test_each_threat_names_tests_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    threats = re.split(r"\n#+ ", text.partition("\n## Threats")[2])[1:]
    assert len(threats) >= 8
    for threat in threats:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", threat)
        assert named, threat.splitlines()[0]
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), name
