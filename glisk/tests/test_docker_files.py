"""What can be said of the Docker files without an engine: that they fit the repository."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from glisk.config.env_file import read_env_file
from glisk.tests.test_env_example import documented
from glisk.tests.test_secret_files import secret_names

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
APP = {"migrate", "backend", "worker"}


def values(stage: str, instruction: str) -> list[str]:
    """Return what one build stage says by an instruction, continued lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    (found,) = (part for part in text.split("\nFROM ") if f" AS {stage}\n" in part)
    words = [line.partition(" ") for line in found.split("\n")]
    return [rest for word, _, rest in words if word == instruction]


def test_nothing_runs_as_root() -> None:
    for name in ("app", "sandbox"):
        assert values(name, "USER")[-1] == "glisk"


def test_every_app_of_ours_is_copied() -> None:
    copied = {source for copy in values("app", "COPY") for source in copy.split()[:-1]}
    apps = {name.split(".")[0] for name in settings.INSTALLED_APPS}
    assert {name for name in apps if (ROOT / name).is_dir()} <= copied
    # By the example the start knows the secrets that everybody has.
    assert {"manage.py", "gunicorn.conf.py", ".env.example"} <= copied


def test_whatever_is_copied_exists_and_is_not_ignored() -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in ("packages", "app", "sandbox"):
        for copy in values(name, "COPY"):
            if not copy.startswith("--from="):
                for source in copy.split()[:-1]:
                    assert (ROOT / source).exists()
                    assert f"!{source}" in allowed


def test_stopping_leaves_time_to_finish() -> None:
    for name in ("backend", "worker"):
        grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert grace >= settings.SHUTDOWN_GRACE_SECONDS + 5


def interpolated(text: str, known: dict[str, str]) -> str:
    """Fill in `${NAME:-default}` and `${NAME:+other}` as Compose does, the inner ones first."""

    def value(found: re.Match[str]) -> str:
        name, sign, other = found.groups()
        given = known.get(name, "")
        return (other if given else "") if sign == ":+" else given or other

    while (filled := re.sub(r"\$\{(\w+)(:[-+])([^${}]*)\}", value, text)) != text:
        text = filled
    assert "$" not in text
    return text


def environment(service: str, directory: Path) -> dict[str, str]:
    """Return what Compose would give a service in this directory, which may have a .env."""
    own = directory / ".env"
    known = read_env_file(own) if own.is_file() else {}
    merged: dict[str, str] = {}
    for entry in SERVICES[service]["env_file"]:
        path = directory / interpolated(entry["path"], known)
        assert path.is_file() or entry["required"] is False
        merged |= read_env_file(path) if path.is_file() else {}
    given = SERVICES[service]["environment"].items()
    return merged | {name: interpolated(text, known) for name, text in given}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A directory with the files that Compose reads."""
    (tmp_path / "docker").mkdir()
    for name in (".env.example", "docker/LOCAL.env"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"))
    return tmp_path


@pytest.mark.parametrize("copied", [False, True])
def test_the_sandbox_has_all_variables_and_no_address_of_loopback(
    clone: Path, copied: bool
) -> None:
    """Also with the copy that `make sandbox` leaves, whose addresses are those of this machine."""
    if copied:
        (clone / ".env").write_text((clone / ".env.example").read_text(encoding="utf-8"))
    merged = environment("backend", clone)
    assert set(documented()) <= set(merged)
    assert merged["RPC_URL"] == "http://node:8545"
    for name, value in merged.items():
        assert "127.0.0.1:" not in value, name


def test_nothing_of_the_example_gets_below_an_env_file_of_ones_own(clone: Path) -> None:
    own = {"NETWORK": "BASE_SEPOLIA", "SECRET_KEY": "ours", "POSTGRES_PASSWORD": "pw"}
    (clone / ".env").write_text("".join(f"{name}={value}\n" for name, value in own.items()))
    merged = environment("worker", clone)
    assert merged["SECRET_KEY"] == "ours"
    assert merged["COMPOSE_DATABASE_URL"] == "postgres://glisk:pw@postgres:5432/glisk"
    assert merged["DATABASE_URL"] == merged["DATABASE_URL_FILE"] == ""
    assert set(merged) == set(own) | set(SERVICES["worker"]["environment"])


def test_only_the_worker_gets_the_keepers_key(clone: Path) -> None:
    key = "17" * 32
    aws = {"KEEPER_KMS_KEY_ID": "alias/keeper", "AWS_SECRET_ACCESS_KEY": "of the worker"}
    for own in ({"KEEPER_PRIVATE_KEY": key, **aws}, {"KEEPER_PRIVATE_KEY_FILE": "./keeper.key"}):
        given = {"NETWORK": "BASE_SEPOLIA", **own}
        (clone / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
        for name in APP - {"worker"}:
            merged = environment(name, clone)
            assert (merged["KEEPER_PRIVATE_KEY"], merged["KEEPER_PRIVATE_KEY_FILE"]) == ("", "")
            assert not any(merged.get(each) for each in aws)
            assert "keeper" not in SERVICES[name]["secrets"]
        merged = environment("worker", clone)
        by_file = "KEEPER_PRIVATE_KEY_FILE" in own
        assert merged.get("KEEPER_PRIVATE_KEY", "") == ("" if by_file else key)
        assert by_file or all(merged[each] == value for each, value in aws.items())
        assert merged["KEEPER_PRIVATE_KEY_FILE"] == ("/run/secrets/keeper" if by_file else "")
        secret = interpolated(COMPOSE["secrets"]["keeper"]["file"], given)
        assert secret == ("./keeper.key" if by_file else "/dev/null")
    assert "keeper" in SERVICES["worker"]["secrets"]


def test_every_secret_can_be_given_as_a_file(clone: Path) -> None:
    names = secret_names() - {"KEEPER_PRIVATE_KEY"}
    own = {f"{name}_FILE": f"./secrets/{name}" for name in names}
    for given in ({"NETWORK": "BASE_SEPOLIA"}, {"NETWORK": "BASE_SEPOLIA", **own}):
        (clone / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
        for service in APP:
            merged, mounted = environment(service, clone), SERVICES[service]["secrets"]
            assert set(mounted) - {"keeper"} == {name.lower() for name in names}
            for name in names:
                wanted = f"/run/secrets/{name.lower()}" if len(given) > 1 else ""
                assert merged[f"{name}_FILE"] == wanted
                source = interpolated(COMPOSE["secrets"][name.lower()]["file"], given)
                assert source == (own[f"{name}_FILE"] if wanted else "/dev/null")


@pytest.mark.process
def test_the_image_is_built_with_secrets_of_its_own() -> None:
    """Those of the example are refused in production, at the build as well."""
    (build,) = (run for run in values("app", "RUN") if "collectstatic" in run)
    command, *_ = build.partition(" && python -m compileall")
    command = re.sub(r"manage.py collectstatic .*", "manage.py check", command)
    done = subprocess.run(
        ["sh", "-ec", command],
        cwd=ROOT,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
