"""An operator's day in a real browser, with everything running: node, vendors, web, worker."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from glisk.tests.test_in_browser import HURRY, PASSWORD, watch
from sandbox.accounts import AUTHORS
from sandbox.world import Ports, World, WorldOptions

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

AUTHOR = AUTHORS[0].address
PROMPT = "A lighthouse in a storm, painted in ink"
_OPERATOR = f"""
from django.contrib.auth.models import User
from glisk.console.roles import give_role, make_roles
make_roles()
User.objects.create_user("maria", password="{PASSWORD}")
give_role("maria", "operator")
"""
_PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="module")
def world(anvil_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything that runs in production, on free ports; reveals wait an hour for company."""
    options = WorldOptions(
        block_time=0.5,
        generation_seconds="0.1",
        pin_seconds="0.05",
        image_size=128,
        env={"BATCH_REVEAL_WAIT_SECONDS": "3600"},
    )
    with World(tmp_path_factory.mktemp("world"), ports=Ports.free(), options=options) as world:
        world.start()
        world.manage("shell", "--command", _OPERATOR)
        world.wait_for_workers()
        yield world


@pytest.fixture(scope="module")
def signed_in(browser: Browser, world: World) -> BrowserContext:
    """The operator, signed in by the form."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, base_url=world.ports.url("web")
    )
    context.add_init_script(HURRY)
    page = context.new_page()
    page.goto("/admin/")
    page.fill("[name=username]", "maria")
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")
    expect(page.locator(".glisk-funnel")).to_be_visible()
    page.close()
    return context


@pytest.fixture
def page(signed_in: BrowserContext, world: World) -> Iterator[Page]:
    """The operator's page; at the end nothing may have complained or gone to a third party."""
    ours = [world.ports.url(name) for name in ("web", "gateway")]
    page, complaints = signed_in.new_page(), watch(signed_in, ours)
    yield page
    page.close()
    assert complaints == []


def mint(world: World) -> int:
    """Mint a token and return its number."""
    receipt = world.chain.wait(world.chain.mint(1, AUTHOR, 1))
    (minted,) = world.chain.mints(receipt["blockNumber"])
    return minted.start_token_id


def see_token(page: Page, token_id: int, state: str) -> None:
    """Look at a token's page again and again until it is in this state (a pattern)."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    head = page.locator(".glisk-head")
    while True:
        answer = page.goto(f"/admin/tokens/token/{token_id}/change/")
        assert answer is not None
        if head.count() and re.search(rf"\b{state}\b", head.inner_text(), re.IGNORECASE):
            return
        assert time.monotonic() < deadline, head.inner_text() if head.count() else "no such token"
        page.wait_for_timeout(200)


def control(page: Page, name: str, subject: str, reason: str) -> None:
    """Press one of the controls' buttons in the row of a subject, and say why."""
    page.goto("/admin/glisk/systemstate/controls/")
    row = page.get_by_role("row").filter(has_text=subject).first
    row.locator("summary", has_text=name).click()
    row.locator("[name=reason]").fill(reason)
    row.get_by_role("button", name=name).click()


def test_an_author_is_onboarded_and_the_dashboard_follows_their_mint(
    page: Page, world: World
) -> None:
    page.goto("/admin/authors/author/add/")
    page.fill("[name=wallet_address]", AUTHOR.lower())
    page.fill("[name=prompt_text]", PROMPT)
    page.click("[name=_save]")
    expect(page.get_by_text("was added successfully")).to_be_visible()

    page.goto("/admin/")
    expect(page.get_by_text("Nothing was revealed in the last 24 hours.")).to_be_visible()
    tiles = page.locator(".glisk-tiles")
    expect(tiles).to_contain_text(re.compile(r"Workers alive\s*4"))
    page.evaluate("window.untouched = true")
    token_id = mint(world)
    revealed = page.locator(".glisk-funnel .is-revealed .glisk-funnel-number")
    expect(revealed).to_have_text("1", timeout=_PATIENCE_SECONDS * 1000)
    expect(tiles).to_contain_text(re.compile(r"Gas per token\s*[0-9]{2,3},"), timeout=60_000)
    expect(page.locator(".glisk-chart rect.is-revealed")).to_have_count(1, timeout=60_000)
    assert page.evaluate("window.untouched") is True

    see_token(page, token_id, "revealed")
    expect(page.get_by_text(PROMPT).first).to_be_visible()
    page.wait_for_function("document.querySelector('.glisk-picture img').naturalWidth > 0")
    timeline = page.locator(".glisk-story")
    for part in ("prediction", "0.003 USD", "Transaction confirmed", "Metadata pinned"):
        expect(timeline).to_contain_text(re.compile(part, re.IGNORECASE))


def test_a_failed_token_is_found_understood_retried_and_revealed(page: Page, world: World) -> None:
    world.control("replicate", "faults", {"flagged_rate": 1.0})
    token_id = mint(world)
    page.goto("/admin/")
    failed = page.locator(".glisk-funnel .is-failed .glisk-funnel-number")
    expect(failed).to_have_text("1", timeout=_PATIENCE_SECONDS * 1000)
    page.get_by_role("link", name="content_policy").click()
    page.get_by_role("link", name=f"#{token_id}", exact=True).click()
    expect(page.locator(".glisk-trouble")).to_contain_text("The fallback prompt was refused too")

    world.control("replicate", "faults", {"flagged_rate": 0.0})
    page.locator(".glisk-actions").get_by_role("link", name="Retry").click()
    expect(page.locator(".glisk-cost")).to_contain_text("1 new image: about 0.003 US dollars")
    page.fill("[name=reason]", "the vendor's filter is mended")
    page.locator("form.glisk-action").get_by_role("button", name="Retry").click()
    expect(page.get_by_text("a new prediction is paid for").first).to_be_visible()
    see_token(page, token_id, "revealed")
    retried = page.locator(".glisk-timeline li", has_text="the vendor's filter is mended")
    expect(retried).to_contain_text("by operator maria")
    page.locator("a[href$='/history/']").click()
    why = page.get_by_role("cell", name="the vendor's filter is mended")
    expect(why).to_be_visible()


def test_stages_are_paused_and_resumed_and_a_token_is_revealed_by_hand(
    page: Page, world: World
) -> None:
    control(page, "Pause", "Reveals", "we look at the gas")
    expect(page.get_by_text("Reveals: paused.")).to_be_visible()
    page.goto("/admin/")
    expect(page.locator(".glisk-alert")).to_contain_text("Reveals paused by maria")
    expect(page.locator(".glisk-alert")).to_contain_text("we look at the gas")
    token_id = mint(world)
    see_token(page, token_id, "ready")

    control(page, "Pause", "Image generation", "the vendor works on it")
    other = mint(world)
    see_token(page, other, "detected")
    control(page, "Resume", "Reveals", "gas is cheap")
    expect(page.get_by_text("Reveals: resumed.")).to_be_visible()
    page.wait_for_timeout(700)
    see_token(page, token_id, "ready")  # it waits for the other one's company

    page.locator(".glisk-actions").get_by_role("link", name="Reveal now").click()
    page.locator("form.glisk-action").get_by_role("button", name="Reveal now").click()
    expect(page.get_by_text("Its reveal is requested")).to_be_visible()
    see_token(page, token_id, "revealed")
    see_token(page, other, "detected")
    control(page, "Resume", "Image generation", "the vendor is back")
    see_token(page, other, "revealed")
