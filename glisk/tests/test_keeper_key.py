"""Only the worker, which signs, has the keeper's private key; everything else works without."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import URLResolver, get_resolver
from pytest_django import Settings

from glisk.models import SystemState
from glisk.tests.environments import EXAMPLE, NO_DATABASE, WORKER, faults, read_settings
from glisk.tests.pipeline_world import build_world
from glisk.tests.test_config import KEY
from reveals.keeper import KEY as STATE_KEY
from reveals.keeper import Keeper, keeper_address
from sandbox.accounts import KEEPER


def shown(command: str, **variables: str) -> tuple[str, bool]:
    """Return the key, and whether it is in reach, as `manage.py <command>` has them."""
    said, values = read_settings(
        {**EXAMPLE, **NO_DATABASE, **variables},
        "KEEPER_PRIVATE_KEY",
        "KEEPER_KEY_IN_REACH",
        command=("manage.py", command),
    )
    assert said == ""
    return values["KEEPER_PRIVATE_KEY"], values["KEEPER_KEY_IN_REACH"]


@pytest.mark.process
def test_only_what_signs_needs_the_key_and_takes_it(tmp_path: Path) -> None:
    for file in ("", "/nowhere/keeper"):
        given = {"KEEPER_PRIVATE_KEY": "", "KEEPER_PRIVATE_KEY_FILE": file}
        assert faults(given, ("gunicorn",)) == []
        assert len(faults(given, WORKER)) == 1
    assert shown("check_setup", KEEPER_PRIVATE_KEY=KEY) == ("", True)
    (tmp_path / "key").write_text(KEY)
    by_file = {"KEEPER_PRIVATE_KEY": "", "KEEPER_PRIVATE_KEY_FILE": str(tmp_path / "key")}
    assert shown("migrate", **by_file) == ("", True)
    for signs in ("qcluster", "reveal_tokens", "manual_reveal"):
        assert shown(signs, **by_file) == (f"0x{KEY}", False)
    # The command needs it only where no worker lives.
    assert shown("reveal_tokens", KEEPER_PRIVATE_KEY="") == ("", False)
    idle = {"KEEPER_PRIVATE_KEY": KEY, "ENABLE_REVEAL_WORKER": "false"}
    assert shown("qcluster", **idle) == ("", True)


@pytest.fixture
def no_key(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a process of the tests one that does not sign."""

    def refuse(*args: Any) -> None:
        raise AssertionError("somebody asked for the keeper's key")

    settings.KEEPER_PRIVATE_KEY = ""
    monkeypatch.setattr(Keeper, "__init__", refuse)


def pages(resolver: URLResolver, prefix: str = "/") -> Iterator[str]:
    """Yield every address that needs no argument."""
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from pages(pattern, route)
        elif not set("<(^") & set(route):
            yield route


@pytest.mark.django_db
def test_every_page_opens_without_it(no_key: None, admin_client: Client) -> None:
    build_world(3)
    opened = {page: admin_client.get(page).status_code for page in pages(get_resolver())}
    assert {"/health", "/health/keeper", "/health/metrics", "/admin/", "/openapi.json"} <= set(
        opened
    )
    assert {page for page, status in opened.items() if status >= 500} <= {"/health/workers"}


@pytest.mark.django_db
def test_the_address_is_known_without_the_key(no_key: None, settings: Settings) -> None:
    assert keeper_address() == ""
    SystemState.put(STATE_KEY, {"address": KEEPER.address})
    assert keeper_address() == KEEPER.address
    settings.KEEPER_ADDRESS = "0x1f9090aaE28b8a3dCeaDf281B0F12828e676c326"
    assert keeper_address() == settings.KEEPER_ADDRESS
