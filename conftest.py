"""What every test shares: no network but loopback, the test database, the browser.

Which tests run is decided in glisk/tests/tiers.py. Browser tests are skipped where there is no
Chromium; with --require-browser, as in CI, that or any other skip is a failure.
"""

import gc
import ipaddress
import os
import shutil
import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from django.conf import settings
from pytest_django import DjangoDbBlocker

from glisk.tests.template_database import TemplateDatabase

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest_plugins = [
    "glisk.tests.tiers",
    "glisk.tests.flush",
    "glisk.tests.pace",
    "sandbox.tests.nodes",
    "tokens.tests.only_writer",
]
# Compiling everything anew at each start takes 15 s, and seconds for each process of a test: keep
# what is compiled, whatever the environment says.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_NO_BROWSER = (
    f"no browser: none of {', '.join(_BROWSERS)} is installed and CHROMIUM_BINARY is not set"
)
_network_allowed = False


class NetworkAccessError(Exception):
    """A test tried to leave this machine. No OSError, so that no code under test retries it."""


def _is_local(host: object) -> bool:
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: let no socket of this process out. libpq's own connections do not pass here."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # else AF_UNIX
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not _network_allowed and not _is_local(host):
        raise NetworkAccessError(f"tests talk to this machine only, not to {host!r}")


def find_browser() -> str | None:
    given = os.environ.get("CHROMIUM_BINARY")
    return given or next(filter(None, map(shutil.which, _BROWSERS)), None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-browser",
        action="store_true",
        help="fail if there is no browser, and on any other skip",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--require-browser") and find_browser() is None:
        raise pytest.UsageError(_NO_BROWSER)
    sys.addaudithook(_refuse_network)
    # The same examples at each run, for which a busy machine may take its time.
    hypothesis.settings.register_profile(
        "steady",
        derandomize=True,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("steady")
    _start_without_authors()


def _start_without_authors() -> None:
    """Keep the tests' database as empty as its tables: each test makes the authors it needs."""
    from django.apps import apps
    from django.db.models.signals import post_migrate

    from authors.apps import DEFAULT_AUTHOR

    config = apps.get_app_config("authors")
    assert post_migrate.disconnect(sender=config, dispatch_uid=DEFAULT_AUTHOR)


def pytest_collection_finish() -> None:
    """Keep the garbage collector off what stays anyway: it took a tenth of the tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


def pytest_unconfigure() -> None:
    global _network_allowed
    _network_allowed = True  # a remote Docker engine is told to remove the database


def pytest_report_header() -> str:
    database = settings.DATABASES["default"]
    kind = "embedded PostgreSQL" if settings.EMBEDDED_DATABASE else "PostgreSQL"
    return f"database: {kind} at {database['HOST']}, browser: {find_browser() or 'none'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "live" not in config.getoption("markexpr"):
        live = [item for item in items if item.get_closest_marker("live")]
        config.hook.pytest_deselected(items=live)
        items[:] = [item for item in items if item not in live]
    # For developers without a browser only: CI's --require-browser has refused to start by now.
    if find_browser() is None:
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason=_NO_BROWSER))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_skips(item.config, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_skips(collector.config, report)
    return report


def _fail_skips(config: pytest.Config, report: pytest.TestReport | pytest.CollectReport) -> None:
    expected = hasattr(report, "wasxfail")
    if report.skipped and not expected and config.getoption("--require-browser"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped here, but this was: {reason}"


@pytest.fixture(autouse=True)
def _allow_network_to_live_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    global _network_allowed
    _network_allowed = request.node.get_closest_marker("live") is not None
    yield
    _network_allowed = False


@pytest.fixture(autouse=True)
def _webhooks_leave_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no signature, right or wrong, be noted: most tests of webhooks have no alarms in mind."""
    monkeypatch.setattr("webhooks.authentication.once_a_minute", lambda what: False)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A headless Chromium; tests that use it are marked `browser`.

    It lives for one module only: Playwright keeps an event loop running in this thread, which
    asyncio.run() and, without the variable, Django's database layer refuse.
    """
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # a busy machine takes longer than five seconds
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        chromium = playwright.chromium.launch(executable_path=find_browser(), args=options)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def _template() -> TemplateDatabase:
    return TemplateDatabase()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
    django_db_blocker: DjangoDbBlocker,
    _template: TemplateDatabase,
) -> None:
    with django_db_blocker.unblock():
        _template.use()


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, _template: TemplateDatabase
) -> None:
    with django_db_blocker.unblock():
        _template.keep()


@pytest.fixture(autouse=True)
def _forget_what_was_remembered() -> None:
    """No test is answered from another's short memory."""
    from glisk.api.short_memory import forget_all

    forget_all()
