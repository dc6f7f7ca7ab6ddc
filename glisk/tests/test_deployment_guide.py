"""What the deployment guide and its files name exists, and its sums follow from their figures."""

import importlib.util
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import call_command, get_commands
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from glisk.config.env_file import read_env_file
from glisk.database import unapplied_migrations

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GUIDES = {name: (DOCS / name).read_text(encoding="utf-8") for name in ("deployment.md", "scale.md")}
TEXT = "\n".join(GUIDES.values())
EXAMPLE = read_env_file(ROOT / ".env.example")
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
UNITS = sorted((DOCS / "systemd").iterdir())


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("name", GUIDES)
def test_each_link_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", GUIDES[name])
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        target = (DOCS / path).resolve() if path else DOCS / name
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_each_command_exists() -> None:
    spoken = set(re.findall(r"manage\.py ([a-z]\w+)", TEXT)) | set(
        re.findall(r"^    glisk ([a-z]\w+)", TEXT, re.MULTILINE)
    )
    assert {"migrate", "check_setup", "canary", "collectstatic"} <= spoken <= set(get_commands())
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make (\w+)", TEXT):
        assert f"\n{target}:" in makefile
    for name, option in re.findall(r"`(\w+) --([a-z-]+) \d+`", GUIDES["scale.md"]):
        key = option.replace("-", "_")
        assert f'    "{key}": ' in (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")


def test_each_variable_exists() -> None:
    known = {*EXAMPLE, *re.findall(r"\$\{(\w+):", COMPOSE_TEXT), "GLISK_ENV_FILE"}
    for name in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", TEXT):
        assert name.removesuffix("_FILE") in known or name in known, name


def test_docker_compose_has_what_the_guide_names() -> None:
    services = set(COMPOSE["services"])
    profiles = {
        each for service in COMPOSE["services"].values() for each in service.get("profiles", [])
    }
    assert set(re.findall(r"docker compose .*?--profile (\w+)", TEXT)) <= profiles
    assert (
        set(
            re.findall(
                r"docker compose (?:exec|run --rm|logs --follow|up --no-deps --detach) (\w+)", TEXT
            )
        )
        <= services
    )
    for name in ("backend", "worker", "migrate"):
        service = COMPOSE["services"][name]
        assert service["read_only"] is True
        assert (service["mem_limit"], service["pids_limit"]) == ("2g", 2000)
        assert service["logging"]["driver"] == "local"  # it rotates


def test_both_proxies_take_whole_bodies_of_the_size_that_is_allowed() -> None:
    megabytes = settings.WEBHOOK_MAX_BYTES // 1_000_000
    caddy = (ROOT / "docker" / "Caddyfile").read_text(encoding="utf-8")
    nginx = (ROOT / "docker" / "nginx.conf").read_text(encoding="utf-8")
    assert f"request_buffers {megabytes}MB" in caddy
    assert f"max_size {megabytes}MB" in caddy
    assert f"client_max_body_size {megabytes}m;" in nginx
    assert "proxy_request_buffering on;" in nginx
    (mount,) = (v for v in COMPOSE["services"]["caddy"]["volumes"] if v.endswith(":ro"))
    assert (ROOT / mount.partition(":")[0]).is_file()
    assert f"reverse_proxy backend:{settings.PORT} " in caddy


def unit(path: Path) -> dict[str, str]:
    """Return a unit's settings; what stands there several times is joined by spaces."""
    found: dict[str, str] = {}
    for name, value in re.findall(r"^(\w+)=(.*)", path.read_text(encoding="utf-8"), re.MULTILINE):
        found[name] = f"{found.get(name, '')} {value}".strip()
    return found


def test_the_units_start_what_exists_and_leave_it_time_to_end() -> None:
    started = {}
    for path in UNITS:
        if path.suffix == ".service":
            service = unit(path)
            shell, option, script = shlex.split(service["ExecStart"])
            assert (shell, option) == ("/bin/sh", "-c")
            started[path.stem] = script
            assert int(service["TimeoutStopSec"]) >= settings.SHUTDOWN_GRACE_SECONDS + 5
            assert service["KillMode"] == "mixed"
    assert started == {
        "glisk-web": "exec .venv/bin/python -m gunicorn",
        "glisk-worker": "exec .venv/bin/python manage.py qcluster",
    }
    assert importlib.util.find_spec("gunicorn")
    assert "qcluster" in get_commands()
    listens = unit(DOCS / "systemd" / "glisk-web.socket")["ListenStream"]
    assert listens == f"127.0.0.1:{settings.PORT}"


def test_only_the_workers_unit_names_the_key_and_paths_are_those_of_the_guide() -> None:
    for path in UNITS:
        text = path.read_text(encoding="utf-8")
        assert ("KEEPER" in text) == (path.stem == "glisk-worker")
        if path.suffix == ".service":
            service = unit(path)
            assert f"useradd --system --gid {service['Group']} {service['User']}\n" in TEXT
            assert f"`{service['WorkingDirectory']}`" in TEXT
            for pair in service["Environment"].split():
                name, _, value = pair.partition("=")
                assert name in {*EXAMPLE, "GLISK_ENV_FILE"}
                assert not value.startswith("/etc") or f"`{value}`" in TEXT


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    copies = [shutil.copy(path, tmp_path) for path in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", *copies],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.django_db
def test_an_old_program_runs_on_a_newer_database(capsys: pytest.CaptureFixture[str]) -> None:
    """What a rollback rests on: it is ready, and `migrate` does nothing."""
    MigrationRecorder(connection).record_applied("tokens", "9999_of_a_later_release")
    assert unapplied_migrations() == []
    call_command("migrate", "--plan")
    assert "No planned migration operations" in capsys.readouterr().out


def row(beginning: str) -> list[float]:
    """Return the three figures of a row of the sizes."""
    (line,) = (
        each for each in GUIDES["scale.md"].splitlines() if each.startswith(f"| {beginning}")
    )
    return [float(cell.replace(",", "")) for cell in line.split("|")[2:5]]


def test_the_sums_follow_from_prices_and_gas() -> None:
    months = (1_000, 100_000, 1_000_000)
    prices = dict(each.split("=") for each in EXAMPLE["REPLICATE_PRICES"].split(","))
    for beginning, model in (
        ("images, flux-schnell", "schnell"),
        ("the same with flux-dev", "dev"),
    ):
        price = float(prices[f"black-forest-labs/flux-{model}"])
        assert row(beginning) == pytest.approx([price * tokens for tokens in months])
    found = re.search(r"([\d,]+) gas a token", GUIDES["scale.md"])
    assert found
    gas = int(found[1].replace(",", ""))
    for gwei in ("0.005", "0.05", "1"):
        eth = [gas * tokens * float(gwei) / 1e9 for tokens in months]
        assert row(f"gas at {gwei} gwei") == pytest.approx(eth, rel=0.1)
    assert row("files at Pinata") == [2 * tokens for tokens in months]
