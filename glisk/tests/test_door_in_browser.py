"""The way into the admin and the pages' policy, in a real browser, on a desk and on a phone."""

import os
from base64 import b32decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from glisk.tests.pipeline_world import add_ready_token
from glisk.tests.second_factors import PASSWORD, code_of
from glisk.tests.test_in_browser import GATEWAY, _fits, _picture, watch
from tokens.models import Token

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# Where to keep what these tests see, for people who want to look.
_PICTURES = os.environ.get("DOOR_PICTURES", "")
_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`));
"""


@pytest.fixture(params=[390, 1280])
def page(
    request: pytest.FixtureRequest, browser: Browser, live_server: LiveServer, settings: Settings
) -> Iterator[Page]:
    """Open a page; at the end nothing may have complained but what a test makes fail."""
    settings.PINATA_GATEWAY = [GATEWAY]
    context = browser.new_context(
        viewport={"width": request.param, "height": 844}, base_url=live_server.url
    )
    context.add_init_script(_VIOLATIONS)
    context.route(f"{GATEWAY}/**", _picture)
    complaints = watch(context, [live_server.url, GATEWAY])
    yield context.new_page()
    context.close()
    forgiven = [f"status of {status}" for status in (400, 403, 404, 429)]
    assert [text for text in complaints if not any(part in text for part in forgiven)] == []


def look(page: Page, name: str) -> None:
    """See that a page fits its screen; keep a picture of it where somebody asked for one."""
    _fits(page)
    if _PICTURES:
        width = page.evaluate("innerWidth")
        page.screenshot(path=Path(_PICTURES) / f"{name}-{width}.png", full_page=True)


def sign_in(page: Page, address: str, password: str = PASSWORD) -> None:
    page.goto(address)
    page.fill("[name=username]", "maria")
    page.fill("[name=password]", password)
    page.get_by_role("button", name="Log in").click()


def test_a_second_factor_is_set_up_used_and_replaced_by_a_recovery_code(
    page: Page, settings: Settings
) -> None:
    settings.SECOND_FACTOR_REQUIRED = True
    User.objects.create_superuser("maria", password=PASSWORD)
    sign_in(page, "/admin/tokens/token/")
    expect(page.locator(".glisk-qr svg")).to_be_visible()
    page.get_by_text("No camera?").click()
    look(page, "set-up")
    key = page.locator(".glisk-secret").inner_text().replace(" ", "")
    page.fill("[name=code]", "000000")
    page.get_by_role("button", name="Turn it on").click()
    expect(page.get_by_text("This code is not right.")).to_be_visible()
    page.fill("[name=code]", code_of(b32decode(key).hex()))
    page.get_by_role("button", name="Turn it on").click()
    expect(page.locator(".glisk-codes li")).to_have_count(10)
    look(page, "codes")
    code = page.locator(".glisk-codes li").first.inner_text()
    page.get_by_role("link", name="I have kept them").click()
    expect(page.locator("h1").filter(has_text="oken").first).to_be_attached()

    page.goto("/admin/second-factor/")
    look(page, "status")
    page.get_by_role("button", name="Log out").click()
    sign_in(page, "/admin/")
    look(page, "ask")
    page.fill("[name=code]", "123456")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("not right, or was used already")).to_be_visible()
    page.fill("[name=code]", code)
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".glisk-funnel")).to_be_visible()


def test_who_is_locked_out_reads_until_when(page: Page, settings: Settings) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    User.objects.create_superuser("maria", password=PASSWORD)
    for _ in range(2):
        sign_in(page, "/admin/", "a wrong one")
    expect(page.get_by_text("is locked for your address until")).to_be_visible()
    look(page, "locked-out")


@pytest.mark.parametrize("page", [1280], indirect=True)
def test_no_kind_of_page_breaks_its_policy(page: Page, live_server: LiveServer) -> None:
    token: Token = add_ready_token(1)
    user = User.objects.create_superuser("maria", password=PASSWORD)
    sign_in(page, "/admin/")
    expect(page.locator(".glisk-funnel")).to_be_visible()
    for address in (
        "/",
        "/docs",
        "/redoc",
        "/no/such/page",
        "/admin/tokens/token/",
        f"/admin/tokens/token/{token.pk}/change/",
        f"/admin/tokens/token/action/hold_token/?keys={token.pk}",
        f"/admin/authors/author/{token.author_id}/change/",
        "/admin/authors/author/import/",
        "/admin/glisk/systemstate/controls/",
        reverse("admin-audit"),
        f"{reverse('admin-search')}?q={token.pk}",
        f"/admin/auth/user/{user.pk}/change/",
        "/admin/auth/user/add/",
        "/admin/auth/group/add/",
        "/admin/password_change/",
    ):
        answer = page.goto(address, wait_until="networkidle")
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy, address
        assert ("unsafe-eval" in policy) is address.startswith("/admin"), address
