"""`check --deploy` finds what would be dangerous on a real network."""

from ipaddress import ip_network
from typing import Any

import pytest
from django.core.checks import Tags, run_checks
from pytest_django.fixtures import Settings

from glisk.tests.environments import EXAMPLE, PRODUCTION, read_settings


def found() -> set[str]:
    """Return the ids of our own messages."""
    messages = run_checks(tags=[Tags.security], include_deployment_checks=True)
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
    settings.SECOND_FACTOR_REQUIRED = True
    settings.ALERT_URLS = ["jsons://alerts.glisk.example/key"]
    settings.HEARTBEAT_URL = "https://heartbeat.glisk.example/key"
    settings.KEEPER_KEY_IN_REACH = False
    settings.METRICS_TOKEN, settings.METRICS_NETWORKS = "a token of twenty letters", []
    return settings


def test_a_sound_deployment_has_no_finding(production: Settings) -> None:
    assert found() == set()


def test_the_local_network_has_no_finding_in_development() -> None:
    assert found() == set()


FINDINGS: list[tuple[dict[str, Any], set[str]]] = [
    ({"REPLICATE_BASE_URL": "http://127.0.0.1:8545"}, {"glisk.E001"}),  # an emulator
    ({"PINATA_API_URL": "https://[::1]:8545"}, {"glisk.E001"}),
    ({"RPC_URL": "http://127.0.0.1:8545"}, set()),  # a node of one's own
    ({"RPC_URL": "http://rpc.example"}, {"glisk.W002"}),  # a vendor without TLS
    ({"PUBLIC_BASE_URL": "http://glisk.example"}, {"glisk.E004"}),
    ({"PUBLIC_BASE_URL": ""}, {"glisk.W022"}),
    ({"PUBLIC_BASE_URL": "", "ALERT_URLS": []}, {"glisk.W020"}),
    ({"ALERT_URLS": ["discord://no-token"]}, {"glisk.E020"}),
    ({"ALERT_URLS": [], "ALERT_PAGE_URLS": ["json://127.0.0.1"]}, set()),
    ({"HEARTBEAT_URL": ""}, {"glisk.W021"}),
    ({"KEEPER_KEY_IN_REACH": True}, {"glisk.W010"}),
    ({"METRICS_TOKEN": ""}, {"glisk.I002"}),
    ({"METRICS_TOKEN": "", "METRICS_NETWORKS": [ip_network("10.0.0.0/8")]}, set()),
    ({"X_CLIENT_ID": "ours", "X_REDIRECT_URI": "https://api.glisk.example/x"}, {"glisk.W004"}),
    (
        {
            "X_CLIENT_ID": "ours",
            "X_REDIRECT_URI": "https://api.glisk.example/x",
            "X_SAME_BROWSER": False,
        },
        set(),
    ),
    ({"EMBEDDED_DATABASE": True}, {"glisk.W003"}),
    ({"SECOND_FACTOR_REQUIRED": False}, {"glisk.W011"}),  # a password alone spends
    # Where images cost real money the day has a cap.
    ({"NETWORK": "BASE_MAINNET", "DAILY_SPEND_CAP_USD": 0}, {"glisk.W007"}),
    ({"NETWORK": "BASE_MAINNET", "DAILY_SPEND_CAP_USD": 20}, set()),
    ({"DAILY_SPEND_CAP_USD": 0}, set()),
    ({"MISNAMED_VARIABLES": {"LOGLEVEL": "LOG_LEVEL"}}, {"glisk.W008"}),
    ({"EMBEDDED_DATABASE": True, "NETWORK": "LOCAL"}, {"glisk.W001", "glisk.W003"}),
    ({"TRUSTED_PROXIES": []}, {"glisk.W005"}),  # all visitors share the limits
    ({"TRUSTED_PROXIES": [], "SIGNED_REQUESTS_PER_MINUTE": 0}, set()),
    # Next.js rewrites to http://web:8000 bring Host "web" and no X-Forwarded-Proto.
    ({"ALLOWED_HOSTS": ["glisk.example", "web"]}, {"glisk.W006"}),
    ({"ALLOWED_HOSTS": ["glisk.example", "10.1.2.3"]}, {"glisk.W006"}),
    ({"ALLOWED_HOSTS": ["[fd00::1]"]}, {"glisk.W006"}),
    ({"ALLOWED_HOSTS": ["web"], "SECURE_SSL_REDIRECT": False}, set()),
]


@pytest.mark.parametrize(("changes", "ids"), FINDINGS)
def test_what_would_be_dangerous_is_found(
    production: Settings, changes: dict[str, Any], ids: set[str]
) -> None:
    for name, value in changes.items():
        setattr(production, name, value)
    assert found() == ids


def test_who_allows_the_frontends_name_only_is_told_of_rewrites(production: Settings) -> None:
    production.ALLOWED_HOSTS = ["app.glisk.example"]
    assert found() == {"glisk.I001"}


@pytest.mark.process
def test_redirect_and_hsts_of_all_hosts_are_choices_and_no_findings_of_djangos() -> None:
    chosen = {"SECURE_HSTS_INCLUDE_SUBDOMAINS": "true", "SECURE_HSTS_PRELOAD": "true"}
    for given, silenced, whole in (
        ({}, ["security.W005", "security.W021"], False),
        ({"SECURE_SSL_REDIRECT": "false", **chosen}, ["security.W008"], True),
        (chosen, [], True),
    ):
        _, values = read_settings(
            {**PRODUCTION, **given},
            "SILENCED_SYSTEM_CHECKS",
            "SECURE_HSTS_INCLUDE_SUBDOMAINS",
            "SECURE_HSTS_PRELOAD",
        )
        assert list(values.values()) == [silenced, whole, whole]
    said, _ = read_settings({**PRODUCTION, "SECURE_HSTS_PRELOAD": "true"})
    assert "SECURE_HSTS_PRELOAD: is true without SECURE_HSTS_INCLUDE_SUBDOMAINS" in said


@pytest.mark.process
def test_the_door_is_shut_in_production_and_a_step_shorter_in_development() -> None:
    names = "SECOND_FACTOR_REQUIRED", "SESSION_COOKIE_AGE", "SESSION_MAX_SECONDS"
    assert list(read_settings(PRODUCTION, *names)[1].values()) == [True, 3600, 43_200]
    assert list(read_settings(EXAMPLE, *names)[1].values()) == [False, 43_200, 43_200]
