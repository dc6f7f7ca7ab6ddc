"""`check --deploy` finds what would be dangerous on a real network."""

from ipaddress import ip_network

import pytest
from django.core.checks import run_checks
from pytest_django.fixtures import Settings

from glisk.tests.environments import PRODUCTION, read_settings


def found() -> set[str]:
    """Return the ids of our own messages."""
    messages = run_checks(include_deployment_checks=True)
    return {str(message.id) for message in messages if str(message.id).startswith("glisk.")}


@pytest.fixture
def production(settings: Settings) -> Settings:
    """Change the settings to those of a sound deployment."""
    settings.PRODUCTION = True
    settings.NETWORK = "BASE_SEPOLIA"
    settings.EMBEDDED_DATABASE = False
    settings.REPLICATE_BASE_URL = "https://api.replicate.com"
    settings.PINATA_API_URL = "https://api.pinata.cloud"
    settings.RPC_URL = "https://base-sepolia.g.alchemy.com/v2/of-the-deployment"
    settings.PUBLIC_BASE_URL = "https://glisk.example"
    settings.ALLOWED_HOSTS = ["glisk.example", ".glisk.example", "[2606:4700::1]"]
    settings.SECURE_SSL_REDIRECT = True
    settings.FRONTEND_URL = settings.X_REDIRECT_URI = "https://app.glisk.example"
    settings.TRUSTED_PROXIES = [ip_network("10.0.0.0/8")]
    return settings


def test_a_sound_deployment_has_no_finding(production: Settings) -> None:
    assert found() == set()


def test_the_local_network_has_no_finding_in_development() -> None:
    assert found() == set()


@pytest.mark.parametrize("name", ["RPC_URL", "REPLICATE_BASE_URL", "PINATA_API_URL"])
def test_an_emulator_is_refused(production: Settings, name: str) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]"):
        setattr(production, name, f"https://{host}:8545")
        assert found() == {"glisk.E001"}


def test_a_callback_address_without_tls_is_refused(production: Settings) -> None:
    production.PUBLIC_BASE_URL = "http://glisk.example"
    assert found() == {"glisk.E004"}
    production.PUBLIC_BASE_URL = ""
    assert found() == set()


def test_a_vendor_without_tls_is_warned_of(production: Settings) -> None:
    production.RPC_URL = "http://rpc.example"
    assert found() == {"glisk.W002"}


def test_a_callback_of_x_on_another_host_is_warned_of(production: Settings) -> None:
    production.X_CLIENT_ID = "of the deployment"
    production.FRONTEND_URL = "https://app.glisk.example"
    production.X_REDIRECT_URI = "https://api.glisk.example/api/authors/x/callback"
    assert found() == {"glisk.W004"}
    production.X_SAME_BROWSER = False
    assert found() == set()


def test_a_local_network_or_an_embedded_database_in_production_is_warned_of(
    production: Settings,
) -> None:
    production.EMBEDDED_DATABASE = True
    assert found() == {"glisk.W003"}
    production.NETWORK = "LOCAL"
    assert found() == {"glisk.W001", "glisk.W003"}


def test_limits_that_all_visitors_share_are_warned_of(production: Settings) -> None:
    production.TRUSTED_PROXIES = []
    assert found() == {"glisk.W005"}
    production.SIGNED_REQUESTS_PER_MINUTE = 0
    assert found() == set()


def test_a_name_that_is_reached_without_tls_is_warned_of(production: Settings) -> None:
    """Next.js rewrites to http://web:8000 bring Host "web" and no X-Forwarded-Proto."""
    for host in ("web", "localhost", "10.1.2.3", "[fd00::1]"):
        production.ALLOWED_HOSTS = ["glisk.example", host]
        assert found() == {"glisk.W006"}
    production.SECURE_SSL_REDIRECT = False
    assert found() == set()


@pytest.mark.process
def test_no_redirect_is_a_choice_and_no_finding_of_djangos() -> None:
    given = {**PRODUCTION, "SECURE_SSL_REDIRECT": "false"}
    _, values = read_settings(given, "SILENCED_SYSTEM_CHECKS")
    assert values["SILENCED_SYSTEM_CHECKS"] == ["security.W008"]
    _, values = read_settings(PRODUCTION, "SILENCED_SYSTEM_CHECKS")
    assert values["SILENCED_SYSTEM_CHECKS"] == []
