"""Who is woken at night holds a phone: lists, pages and copy buttons at 390 pixels."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page, ViewportSize, expect
from pytest_django.live_server_helper import LiveServer

from glisk.tests.pipeline_world import build_world
from glisk.tests.test_admin_pages import TABLES, url
from glisk.tests.test_in_browser import page, sign_in  # noqa: F401
from reveals.models import RevealTransaction
from tokens.models import IPFSUploadRecord, Token
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from webhooks.models import WebhookEvent

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PHONE = ViewportSize(width=390, height=844)
REFUSED = "pinata: POST /pinning answered HTTP 403: The account is over its limit"


def on_the_phone(page: Page, server: LiveServer) -> None:  # noqa: F811
    sign_in(page, f"{server.url}/admin/")
    page.set_viewport_size(PHONE)


def fits(page: Page) -> bool:  # noqa: F811
    """Tell whether nothing is wider than the screen, nor than the box in which a list scrolls."""
    wide = "items => items.filter(item => item.scrollWidth > item.clientWidth).length"
    boxes = page.locator("html, .simplebar-content-wrapper:visible")
    return bool(boxes.evaluate_all(wide) == 0)


def test_a_token_takes_two_lines_and_a_tap_opens_it(
    page: Page,  # noqa: F811
    live_server: LiveServer,
) -> None:
    states = [TokenStatus.FAILED, TokenStatus.UPLOADING, TokenStatus.REVEALED]
    for token_id in range(1, 25):
        status = states[token_id % 3]
        error = REFUSED if status == TokenStatus.FAILED else None
        TokenFactory.create(token_id=token_id, status=status, generation_error=error)
    on_the_phone(page, live_server)
    page.goto(f"{live_server.url}/admin/tokens/token/")
    rows = page.locator("tr.data-row")
    expect(rows).to_have_count(24)
    heights = rows.evaluate_all("rows => rows.map(row => row.offsetHeight)")
    assert max(heights) <= 80
    assert fits(page)
    failed = rows.filter(has_text="#24")
    for part in ("failed", "permanent: pinata"):
        expect(failed.get_by_text(part)).to_be_visible()
    expect(failed.locator(".field-minted")).to_be_hidden()
    assert "Select record" not in page.locator("main, #main").first.inner_text()
    failed.click(position={"x": 200, "y": 50})
    expect(page.locator(".glisk-head h2")).to_contain_text("#24")


def test_no_list_and_no_page_is_wider_than_a_phone(
    page: Page,  # noqa: F811
    live_server: LiveServer,
) -> None:
    build_world(2)
    on_the_phone(page, live_server)
    lists = [url(model, "changelist") for model in TABLES]
    first = {m: m._default_manager.earliest("pk") for m in (Token, RevealTransaction, WebhookEvent)}
    for address in (*lists, *(url(model, "change", row.pk) for model, row in first.items())):
        page.goto(live_server.url + address)
        expect(page.locator("#content-main")).to_be_visible()
        assert fits(page), address


def test_what_is_cut_is_copied_by_its_button_and_shown_whole_at_a_tap(
    page: Page,  # noqa: F811
    live_server: LiveServer,
) -> None:
    build_world(1)
    # As over plain HTTP: a page there has no clipboard to write to.
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    on_the_phone(page, live_server)
    tx_hash = RevealTransaction.objects.latest("signed_at").tx_hash
    page.goto(live_server.url + reverse("admin:reveals_revealtransaction_changelist"))
    said = page.locator(".glisk-said")
    button = page.get_by_role("button", name="Copy").first
    expect(said).to_be_hidden()
    button.focus()
    page.keyboard.press("Enter")
    expect(said).to_have_text(f"Copied: {tx_hash}")
    assert page.url.endswith("/revealtransaction/")  # the button leads nowhere
    page.keyboard.press("Escape")
    expect(said).to_be_hidden()
    search = page.locator("#searchbar")
    search.focus()
    page.keyboard.press("Control+V")
    expect(search).to_have_value(tx_hash)

    token = Token.objects.get()
    page.goto(live_server.url + url(Token, "change", token.pk))
    page.locator("code.glisk-hash").first.click()
    expect(said).to_have_text(page.locator("code.glisk-hash").first.get_attribute("title") or "-")


def test_a_tokens_page_shows_what_matters_on_two_screens_and_folds_the_rest(
    page: Page,  # noqa: F811
    live_server: LiveServer,
) -> None:
    token = TokenFactory.create(
        status=TokenStatus.FAILED, error_class="account", generation_error=REFUSED
    )
    for before, after in (("", "detected"), ("detected", "generating"), ("uploading", "failed")):
        token.transitions.create(from_status=before, to_status=after, actor="box:7 8:9:generation")
    for attempt in range(1, 31):
        IPFSUploadRecord.objects.create(
            token=token,
            upload_type="image",
            computed_cid="bafkreib",
            size_bytes=1,
            attempt_number=attempt,
            status="failed",
            error=REFUSED,
        )
    on_the_phone(page, live_server)
    page.goto(live_server.url + url(Token, "change", token.pk))
    expect(page.locator(".glisk-trouble")).to_contain_text(REFUSED)
    retry = page.locator(".glisk-actions").get_by_role("link", name="Retry")
    box = retry.bounding_box()
    assert box is not None
    assert box["height"] >= 44  # a thumb
    assert box["y"] + box["height"] <= PHONE["height"]
    expect(page.locator(".glisk-timeline li").first).to_contain_text("30 times")
    worker = page.get_by_text("box:7 8:9:generation")
    expect(worker).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollHeight") <= 2 * PHONE["height"]
    page.locator("fieldset summary", has_text="Work").click()
    expect(worker).to_be_visible()


def test_a_list_without_results_leads_back_to_all(
    page: Page,  # noqa: F811
    live_server: LiveServer,
) -> None:
    on_the_phone(page, live_server)
    page.goto(f"{live_server.url}/admin/tokens/token/")
    expect(page.get_by_text("Each token stands here seconds after its mint.")).to_be_visible()
    TokenFactory.create(token_id=3)
    page.goto(f"{live_server.url}/admin/tokens/token/?q=4")
    page.get_by_role("link", name="Clear filters").click()
    expect(page.locator("tr.data-row")).to_have_count(1)
