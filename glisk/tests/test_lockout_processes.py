"""Wrong passwords are counted by all web processes together."""

import subprocess
import sys

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

from glisk.tests.database import database_url
from glisk.tests.second_factors import PASSWORD, log_in

_GUESS = """
import django
django.setup()
from django.test import Client
for _ in range(2):
    form = {"username": "maria", "password": "a wrong one"}
    answer = Client(HTTP_HOST="localhost").post("/admin/login/", form)
print(answer.status_code)
"""


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
def test_two_processes_count_together(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    User.objects.create_user("maria", password=PASSWORD, is_staff=True)
    monkeypatch.setenv("DATABASE_URL", database_url())
    monkeypatch.setenv("LOGIN_ATTEMPTS", "3")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "glisk.settings")
    said = [
        subprocess.run([sys.executable, "-c", _GUESS], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [done.stdout.strip() for done in said] == ["200", "429"]
    settings.AXES_FAILURE_LIMIT = 3
    assert log_in(Client(), "maria") == 429
