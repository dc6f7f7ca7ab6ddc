"""An address of a target is a secret: it stands in no row, log, error, page or message of ours."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from glisk.config.notification_urls import secret_parts, split_urls
from glisk.console.alerts.tasks import ping_dead_man, watch_troubles
from glisk.engine.heartbeat import raise_alarm
from glisk.logging import redaction
from glisk.logging.redaction import redact_text, register_secret
from glisk.models import Alert, AlertDelivery
from glisk.tests.alerts.conftest import KEY, Told, address_of
from glisk.tests.clients.scripted_server import ScriptedServer, answer
from glisk.tests.environments import EXAMPLE, PRODUCTION, read_settings

pytestmark = pytest.mark.django_db


@pytest.fixture
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_registered", ())


@pytest.mark.pages
@pytest.mark.usefixtures("all_is_well")
def test_it_stands_in_no_row_and_on_no_page(
    told: Told,
    receiver: ScriptedServer,
    settings: Settings,
    admin_client: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.ALERT_URLS = [
        address_of(receiver),
        f"json://127.0.0.1:1/{KEY}",  # nobody is there
        f"noservice://{KEY}",
        f"discord://{KEY}",  # its second half is missing
    ]
    raise_alarm("clock", headline="The clock is wrong")
    watch_troubles()
    rows = [*AlertDelivery.objects.values(), *Alert.objects.values()]
    alert = Alert.objects.get()
    lists, one = "admin:glisk_alert_changelist", "admin:glisk_alert_change"
    pages = [
        admin_client.get(reverse(lists)).content.decode(),
        admin_client.get(reverse(one, args=[alert.pk])).content.decode(),
    ]
    faults = [str(message) for message in run_checks(include_deployment_checks=True)]
    told_of = [fault for fault in faults if "glisk.E020" in fault]
    assert len(told_of) == 2
    assert "ALERT_URLS 3 (noservice)" in told_of[0]
    assert "ALERT_URLS 4 (discord)" in told_of[1]
    said = io.StringIO()
    with pytest.raises(CommandError):
        call_command("send_test_alert", stdout=said)
    # apprise's own lines go nowhere (glisk/logging), but to pytest.
    logged = [str(record.msg) for record in caplog.records if record.name != "apprise"]
    for text in (str(rows), *pages, *faults, said.getvalue(), *logged):
        assert KEY not in text
    assert "ALERT_URLS 1 (json)" in pages[1]
    assert "1 of 4" in pages[0]  # delivered
    assert "Connection error" in pages[1]


@pytest.mark.usefixtures("nothing_registered")
@pytest.mark.parametrize(
    ("url", "secrets", "words"),
    [
        ("discord://41527/Zk_9wTokenOfNobody", ["Zk_9wTokenOfNobody"], []),
        ("tgram://123456789:AAmadeup_token/-100200300", ["AAmadeup_token", "123456789"], []),
        ("mailto://ops:hunter2-hunter@mail.example?to=ops@glisk.example", ["hunter2-hunter"],
         ["mail.example", "glisk.example"]),
        ("mailto://ops:plainpassword@mail.example", ["plainpassword"], ["mail.example"]),
        ("mailto://ops:a%23b-cdefgh1@mail.example", ["a%23b-cdefgh1", "a#b-cdefgh1"], []),
        ("jsons://alerts4.glisk.example/notifications/T0ken-of-nobody",
         ["T0ken-of-nobody"], ["alerts4.glisk.example", "notifications"]),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
         ["T1JJ3T3L2", "TIiajkdnlazkcOXrIdevi7FQ"], ["general"]),
        ("pover://usr2keyofnobody@appt0kenofnobody", ["usr2keyofnobody", "appt0kenofnobody"], []),
    ],
)  # fmt: skip
def test_its_parts_are_cut_out_of_texts_too(url: str, secrets: list[str], words: list[str]) -> None:
    """A service's error names the key, and not as it stands in the variable."""
    for part in secret_parts(url):
        register_secret(part)
    for secret in [url, *secrets]:
        assert secret not in redact_text(f"Max retries with url: /api/{secret}/send")
    for word in words:
        assert word in redact_text(f"{word} is a plain word")


def test_a_list_of_addresses_is_read_as_people_write_it() -> None:
    urls = ["mailto://a:b@c.example?to=d@e.example,f@g.example", "discord://1/2", "json://x"]
    for between in (",", ", ", " ", "\n", ";"):
        assert split_urls(between.join(urls)) == urls
    assert split_urls(" , ") == split_urls("") == []


@pytest.mark.process
def test_what_is_no_address_is_a_fault_that_names_its_place_only() -> None:
    second = f"{KEY.replace('-', '')}://"
    given = {"ALERT_URLS": f"json://x, {second}", "HEARTBEAT_URL": KEY}
    faults, _ = read_settings({**EXAMPLE, **given})
    assert "ALERT_URLS: entry 2 is not an address of apprise" in faults
    assert "HEARTBEAT_URL: is not a URL" in faults
    assert KEY not in faults
    assert second not in faults


@pytest.mark.process
def test_a_port_that_the_example_names_too_is_no_published_secret() -> None:
    urls = "json://alerts:8000/glisk?verify=true json://user:password@alerts:5432"
    assert read_settings({**PRODUCTION, "ALERT_URLS": urls}) == ("", {})


def test_the_heartbeats_address_is_a_secret_too(
    receiver: ScriptedServer, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.HEARTBEAT_URL = f"http://127.0.0.1:{receiver.port}/{KEY}"
    receiver._steps.clear()
    receiver.script(answer(404))
    assert "HTTP 404" in ping_dead_man([])
    assert "heartbeat_not_heard" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.usefixtures("told")
def test_a_trouble_with_a_secret_in_its_text_is_told_without_it() -> None:
    register_secret("key-of-nobody-77")
    raise_alarm("leak", headline="It said key-of-nobody-77")
    watch_troubles()
    assert "key-of-nobody-77" not in json.dumps(list(AlertDelivery.objects.values("title", "body")))


def test_apprise_is_loaded_only_where_something_is_sent() -> None:
    """It takes half a second and 30 MB: nothing imports it at the start."""
    for path in Path(django_settings.BASE_DIR, "glisk").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^(from|import) apprise", text, re.MULTILINE), path
