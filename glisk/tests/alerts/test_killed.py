"""A sender that is killed after a message left and before that was written repeats it once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from glisk.console.alerts.delivery import deliver
from glisk.console.alerts.evaluation import note_troubles
from glisk.engine.heartbeat import raise_alarm
from glisk.models import AlertDelivery
from glisk.tests.alerts.conftest import Told
from glisk.tests.clients.scripted_server import ScriptedServer
from glisk.tests.database import database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]
_SEND = (
    "import django; django.setup(); from glisk.console.alerts.delivery import deliver; deliver()"
)


def test_it_is_repeated_once_and_lost_never(told: Told, receiver: ScriptedServer) -> None:
    raise_alarm("clock", headline="The clock is wrong")
    note_troubles()
    AlertDelivery.objects.exclude(alert__kind="alarm").delete()  # no worker lives here
    address = settings.ALERT_URLS[0]
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "glisk.settings",
        "DATABASE_URL": database_url(),
        "ALERT_URLS": address,
    }
    sender = subprocess.Popen([sys.executable, "-c", _SEND], cwd=settings.BASE_DIR, env=environment)

    def kill(_server: ScriptedServer, _connection: socket.socket) -> bool:
        sender.send_signal(signal.SIGKILL)
        sender.wait(60)
        return False

    receiver._steps.appendleft(kill)
    assert sender.wait(60) == -signal.SIGKILL
    assert len(receiver.requests) == 1
    row = AlertDelivery.objects.get()
    assert (row.state, row.attempts) == (AlertDelivery.State.WAITING, 1)
    assert deliver() == 0  # the claim of the dead stands
    AlertDelivery.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    assert deliver() == 1
    assert deliver() == 0
    first, again = receiver.requests
    assert first.body == again.body
