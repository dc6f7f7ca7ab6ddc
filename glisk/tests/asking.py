"""What an operator is told: by the dashboard, in a terminal, on a token's page."""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO

from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from glisk.models import WorkerHeartbeat
from tokens.models import Token


@dataclass
class Told:
    """`status` is the exit status of pipeline_status; `page` is the token's, if one was named."""

    dashboard: str
    terminal: str
    status: int
    page: str

    @property
    def is_well(self) -> bool:
        return self.status == 0 and "glisk-alert" not in self.dashboard


def ask(client: Client, token: Token | None = None) -> Told:
    """Look everywhere, as a logged-in operator."""
    out, status = StringIO(), 0
    try:
        call_command("pipeline_status", stdout=out)
    except SystemExit as ended:
        status = int(str(ended.code))
    page = page_of(client, token) if token is not None else ""
    return Told(dashboard(client), out.getvalue(), status, page)


def dashboard(client: Client) -> str:
    return html.unescape(client.get("/admin/dashboard/").content.decode())


def page_of(client: Client, token: Token) -> str:
    address = reverse("admin:tokens_token_change", args=[token.pk])
    return html.unescape(client.get(address).content.decode())


def beat(*stages: str, age_seconds: float = -300, in_flight: int = 0) -> None:
    """Leave heartbeats of workers; as a rule they live for minutes, however slow a test is."""
    now = timezone.now()
    for stage in stages:
        WorkerHeartbeat.objects.create(
            owner=f"machine:1:2:{stage}",
            host="machine",
            main_pid=1,
            pid=2,
            stage=stage,
            in_flight=in_flight,
            started_at=now,
            beat_at=now - timedelta(seconds=age_seconds),
        )
