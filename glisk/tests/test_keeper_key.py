"""Only the process that signs has the keeper's private key; everything else works without."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import URLResolver, get_resolver
from eth_account import Account
from pytest_django import Settings

from glisk.clients.signers.local import FileSigner, KeySigner
from glisk.models import SystemState
from glisk.tests.environments import (
    EXAMPLE,
    NO_DATABASE,
    PRODUCTION,
    WORKER,
    complaint,
    faults,
    read_settings,
)
from glisk.tests.pipeline_world import build_world
from glisk.tests.test_wrong_settings import KEY
from reveals.keeper import KEY as STATE_KEY
from reveals.keeper import keeper_address
from sandbox.accounts import KEEPER


def shown(command: str, **variables: str) -> tuple[str, str, bool]:
    """Return the key, its address, and whether it is in reach, as `manage.py <command>` has them.

    The address is left out where the settings give it.
    """
    names = ("KEEPER_PRIVATE_KEY", "KEEPER_ADDRESS", "KEEPER_KEY_IN_REACH")
    given = {**EXAMPLE, **NO_DATABASE, **variables}
    said, values = read_settings(given, *names, command=("manage.py", command))
    assert said == ""
    return values[names[0]], values[names[1]], values[names[2]]


@pytest.mark.process
def test_only_what_signs_needs_the_key_and_takes_it(tmp_path: Path) -> None:
    for file in ("", "/nowhere/keeper"):
        given = {"KEEPER_PRIVATE_KEY": "", "KEEPER_PRIVATE_KEY_FILE": file}
        assert faults(given, ("gunicorn",)) == []
        assert len(faults(given, WORKER)) == 1
    address = Account.from_key(KEY).address
    assert shown("check_setup", KEEPER_PRIVATE_KEY=KEY) == ("", "", True)
    assert shown("qcluster", KEEPER_PRIVATE_KEY=KEY) == (f"0x{KEY}", address, False)
    (tmp_path / "key").write_text(KEY + "\n")
    by_file = {"KEEPER_PRIVATE_KEY": "", "KEEPER_PRIVATE_KEY_FILE": str(tmp_path / "key")}
    assert shown("migrate", **by_file) == ("", "", True)
    # Judged, and not kept: the drain reads it.
    for signs in ("qcluster", "reveal_tokens", "manual_reveal"):
        assert shown(signs, **by_file) == ("", address, False)
    # The command needs it only where no worker lives.
    assert shown("reveal_tokens", KEEPER_PRIVATE_KEY="") == ("", "", False)
    idle = {"KEEPER_PRIVATE_KEY": KEY, "ENABLE_REVEAL_WORKER": "false"}
    assert shown("qcluster", **idle) == ("", "", True)


@pytest.mark.process
def test_no_web_process_of_a_real_network_starts_with_the_key() -> None:
    """What stands in its environment can be read there for as long as it lives."""
    given = {**PRODUCTION, "KEEPER_PRIVATE_KEY": KEY}
    said = complaint(given, ("gunicorn",))
    assert "KEEPER_PRIVATE_KEY: is given to a web process" in said
    assert "KEEPER_PRIVATE_KEY_FILE" in said
    assert KEY not in said
    assert complaint(given, ("manage.py", "migrate")) == ""
    assert complaint({**given, "KEEPER_PRIVATE_KEY": ""}, ("gunicorn",)) == ""


@pytest.mark.process
def test_what_makes_no_sense_beside_a_key_of_kms_is_a_fault() -> None:
    kms = {"KEEPER_KMS_KEY_ID": "alias/keeper", "KEEPER_ADDRESS": KEEPER.address}
    both = [f for f in faults(kms, WORKER) if f.startswith("KEEPER_")]
    assert both == ["KEEPER_KMS_KEY_ID: is set as well as a private key; keep one of them"]
    kms["KEEPER_PRIVATE_KEY"] = ""
    assert faults(kms, WORKER) == []
    kms["KEEPER_ADDRESS"] = ""
    assert [f.split(":")[0] for f in faults(kms, WORKER)] == ["KEEPER_ADDRESS"]
    assert faults(kms) == []  # check_setup tells the address


@pytest.fixture
def no_key(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a process of the tests one that does not sign."""

    def refuse(*args: Any) -> None:
        raise AssertionError("somebody asked for the keeper's key")

    settings.KEEPER_PRIVATE_KEY = ""
    for signer in (KeySigner, FileSigner):
        monkeypatch.setattr(signer, "__init__", refuse)


def pages(resolver: URLResolver, prefix: str = "/") -> Iterator[str]:
    """Yield every address that needs no argument."""
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from pages(pattern, route)
        elif not set("<(^") & set(route):
            yield route


@pytest.mark.pages
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
