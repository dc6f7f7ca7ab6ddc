"""At night, on a phone too: a search leads to the token, a banner to its remedy, nothing is cut."""

import re
from dataclasses import asdict

import pytest
from django.utils import timezone
from playwright.sync_api import Page, ViewportSize, expect
from pytest_django.live_server_helper import LiveServer

from authors.tests.factories import AuthorFactory
from glisk.breaker import Breaker
from glisk.errors import AccountError
from glisk.models import OperatorAction, SystemState
from glisk.pauses import pause_stage
from glisk.rate_limit import RateLimit
from glisk.tests.asking import beat
from glisk.tests.test_in_browser import page, sign_in
from reveals.keeper import KeeperState
from tokens.recovery.progress import Progress, save_progress
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

__all__ = ["page"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PHONE: ViewportSize = {"width": 390, "height": 844}
LAPTOP: ViewportSize = {"width": 900, "height": 700}
# What is wider than its place, and is cut or scrolls sideways.
CUT = """() => [document.documentElement, ...document.querySelectorAll(".glisk-panel")]
    .filter((part) => part.scrollWidth > part.clientWidth)
    .map((part) => part.innerText.slice(0, 60))"""


def test_a_search_leads_to_the_token(page: Page, live_server: LiveServer) -> None:
    author = AuthorFactory.create(twitter_handle="moonpainter")
    token = TokenFactory.create(
        token_id=777,
        author=author,
        prompt_author_wallet=author.wallet_address,
        status=TokenStatus.READY,
    )
    sign_in(page, f"{live_server.url}/admin/")
    page.set_viewport_size(PHONE)
    expect(page.locator(".glisk-funnel")).to_be_visible()
    for keys in ("/", "Control+k"):
        page.keyboard.press(keys)
        expect(page.locator("#glisk-search")).to_be_focused()
        page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("#777")
    expect(page.locator("#glisk-hits")).to_contain_text("Token #777")  # while it is typed
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/tokens/token/777/change/"))
    assert page.evaluate(CUT) == []
    page.goto(f"{live_server.url}/admin/audit/")
    page.fill("#glisk-search", str(token.metadata_cid))
    page.keyboard.press("Enter")  # at once: before any hit is shown
    page.wait_for_url(re.compile(r"/tokens/token/777/change/"))
    page.fill("#glisk-search", token.prompt_author_wallet)
    page.keyboard.press("Enter")
    hits = page.locator(".glisk-hits-page")
    expect(hits).to_contain_text("1 as author")
    assert page.evaluate(CUT) == []
    page.goto(f"{live_server.url}/admin/tokens/token/")  # there "/" is the list's own
    page.keyboard.press("Control+k")
    page.keyboard.type("moonp")
    expect(page.locator("#glisk-hits")).to_contain_text("Nothing found")
    page.keyboard.type("ainter")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/authors/author/\d+/change/"))


def test_the_banner_says_how_many_wait_and_its_button_ends_it(
    page: Page, live_server: LiveServer
) -> None:
    beat("supervisor", "generation", "upload", "reveal")
    save_progress(Progress(block=1, head=1))
    well = KeeperState(status="ok", reveals_left=9_000, checked_at=timezone.now().isoformat())
    SystemState.put("keeper", asdict(well))
    sign_in(page, f"{live_server.url}/admin/")
    expect(page.locator(".glisk-calm")).to_contain_text("All well.")
    TokenFactory.create_batch(2, status=TokenStatus.UPLOADING)
    Breaker("pinata").failed(AccountError("HTTP 401", vendor="pinata", status=401))
    page.set_viewport_size(PHONE)
    banner = page.locator(".glisk-alert")
    headline = "Uploads paused: Pinata refuses our key · 2 tokens wait"
    expect(banner).to_contain_text(headline, timeout=60_000)
    assert page.evaluate(CUT) == []
    banner.get_by_role("link", name="Try now").click()
    page.get_by_role("button", name="Try now").click()
    expect(page.locator(".glisk-calm")).to_be_visible()
    expect(page.get_by_text("Pinata: the next call is made now.")).to_be_visible()
    assert OperatorAction.objects.values_list("actor", "subject").get() == (
        "operator operator",
        "pinata",
    )


@pytest.mark.parametrize("size", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_nothing_is_cut_in_controls_and_audit(
    page: Page, live_server: LiveServer, size: ViewportSize
) -> None:
    long = "chain: eth_blockNumber did not reach https://base-mainnet.node.example/v2/" + "k" * 60
    Breaker("rpc").failed(AccountError(long, vendor="chain", status=401))
    RateLimit("pinata", per_minute=60).take(3)
    pause_stage("generation", actor="operator maria", reason=long)
    sign_in(page, f"{live_server.url}/admin/")
    page.set_viewport_size(size)
    page.goto(f"{live_server.url}/admin/glisk/systemstate/controls/")
    assert page.evaluate(CUT) == []
    page.locator("summary", has_text="Pause").first.click()
    reason = page.locator("[name=reason]:visible")
    reason.fill("maintenance")
    assert page.evaluate(CUT) == []
    reason.press("Enter")
    expect(page.get_by_text("Uploads: paused.")).to_be_visible()
    page.goto(f"{live_server.url}/admin/audit/")
    expect(page.get_by_text("maintenance")).to_be_visible()
    assert page.evaluate(CUT) == []
    if size is LAPTOP:  # the whole menu is in sight
        page.locator("#header-inner .material-symbols-outlined:visible").first.click()
        for title in ("Dashboard", "Audit", "Pipeline", "System", "Access"):
            expect(page.locator("#nav-sidebar").get_by_text(title).first).to_be_in_viewport()
