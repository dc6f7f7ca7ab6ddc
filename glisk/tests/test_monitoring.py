"""Alert rules and dashboard name what a scrape shows, and each alert is provoked and goes back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.test import Client
from django.utils import timezone

from glisk import metrics as counting
from glisk.models import SystemState
from tokens.recovery.progress import Progress, save_progress

DIRECTORY = Path(__file__).resolve().parents[2] / "docs" / "monitoring"
RUNBOOK = DIRECTORY.parent / "runbook.md"
NAME = re.compile(r"\bglisk_\w+")


def read(name: str) -> str:
    return (DIRECTORY / name).read_text(encoding="utf-8")


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(read("alerts.yml"))["groups"][0]["rules"]
    return found


def expressions() -> Iterator[str]:
    """Yield what the dashboard asks, as Prometheus would be asked."""
    for panel in json.loads(read("dashboard.json"))["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "5m")


def anchors() -> set[str]:
    """Return the anchors of the runbook's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_each_alert_says_what_to_do_and_how_soon() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) >= 15
    for rule in rules():
        told = rule["annotations"]
        assert rule["labels"]["severity"] in ("page", "warn"), rule
        assert told["summary"] and told["description"], rule
        file, _, anchor = told["runbook"].partition("#")
        assert (file, anchor in anchors()) == ("docs/runbook.md", True), told["runbook"]


def test_each_alert_is_provoked_and_goes_back() -> None:
    provoked: set[str] = set()
    for case in yaml.safe_load(read("alerts_test.yml"))["tests"]:
        before, during, after = case["promql_expr_test"]
        assert "exp_samples" not in before and "exp_samples" not in after, case["name"]
        provoked |= set(re.findall(r'alertname="(\w+)"', str(during.get("exp_samples", ""))))
    assert provoked == {rule["alert"] for rule in rules()}


@pytest.mark.django_db
def test_what_is_named_exists_in_a_scrape_and_the_page_names_it_all(client: Client) -> None:
    save_progress(Progress(block=90, head=100))
    SystemState.put("keeper", {"status": "ok", "checked_at": timezone.now().isoformat()})
    with counting.timed_vendor_call("pinata"), counting.timed_step_call("pin"):
        counting.count_webhook("alchemy", "processed")
        counting.count_retry("transient")
    client.get("/health/live")
    scraped = client.get("/metrics").content.decode()
    families = dict(re.findall(r"^# TYPE (\w+) (\w+)$", scraped, re.MULTILINE))
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    exist = {f + end for f, kind in families.items() for end in suffixes.get(kind, ("",))}
    asked = "\n".join(
        [*(rule["expr"] for rule in rules()), *expressions(), read("alerts_test.yml")]
    )
    assert set(NAME.findall(asked)) - exist == set()
    assert set(NAME.findall(read("README.md"))) == set(families)


def promtool(*arguments: str, cwd: Path = DIRECTORY, text: str = "") -> None:
    binary = shutil.which("promtool")
    if binary is None:
        pytest.skip("no promtool: it is in Debian's package prometheus")
    done = subprocess.run(
        [binary, *arguments], cwd=cwd, input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.process
def test_promtool_takes_rules_dashboard_and_scrape_config(tmp_path: Path) -> None:
    promtool("check", "rules", "alerts.yml")
    promtool("check", "config", "--syntax-only", "prometheus.yml")
    asked = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(expressions())]
    assert len(asked) > 20
    (tmp_path / "panels.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "p", "rules": asked}]})
    )
    promtool("check", "rules", "--lint=none", "panels.yml", cwd=tmp_path)


@pytest.mark.process
def test_promtool_provokes_each_alert() -> None:
    promtool("test", "rules", "alerts_test.yml")


@pytest.mark.process
@pytest.mark.django_db
def test_promtool_takes_a_scrape(client: Client) -> None:
    """It also judges names and help texts."""
    client.get("/health/live")
    promtool("check", "metrics", text=client.get("/metrics").content.decode())
