"""What people see, in a real browser: pages follow the pipeline, and nothing complains."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Route,
    expect,
)
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from authors.tests.factories import wallet
from glisk.tests.pipeline_world import add_image, add_ready_token, png
from tokens.api import gallery as gallery_module
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory, hash32

PASSWORD = "correct horse battery staple"
# A page's own pauses are ten times as short.
HURRY = "const pause = setTimeout; window.setTimeout = (act, ms) => pause(act, ms / 10);"

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
GATEWAY = "http://gateway.example"
LOST: set[str] = set()


def _picture(route: Route) -> None:
    """Answer as an IPFS gateway that shows one picture for every CID but those it lost."""
    if route.request.url.rsplit("/", 1)[-1] in LOST:
        route.fulfill(status=504)
    else:
        route.fulfill(body=png(64), content_type="image/png")


def watch(context: BrowserContext, ours: Sequence[str]) -> list[str]:
    """Return what goes wrong in the pages of a browser; it grows: complaints and third parties."""
    complaints: list[str] = []
    places = {urlsplit(url).netloc for url in ours}

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    def see(request: Request) -> None:
        if request.url.startswith("http") and urlsplit(request.url).netloc not in places:
            complaints.append(f"third party: {request.url}")

    context.on("console", hear)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("request", see)
    return complaints


@pytest.fixture
def page(browser: Browser, live_server: LiveServer, settings: Settings) -> Iterator[Page]:
    """Open a page; at the end nothing may have complained or gone to a third party."""
    settings.PINATA_GATEWAY = [GATEWAY]
    LOST.clear()
    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.add_init_script(HURRY)
    context.route(f"{GATEWAY}/**", _picture)
    complaints = watch(context, [live_server.url, GATEWAY])
    yield context.new_page()
    context.close()
    # What a test makes fail on purpose: the browser logs each one.
    forgiven = ["status of 503", "status of 504"]
    assert [text for text in complaints if not any(part in text for part in forgiven)] == []


def test_the_gallery_follows_a_token_without_a_reload(page: Page, live_server: LiveServer) -> None:
    token = TokenFactory.create(token_id=7, status=TokenStatus.GENERATING)
    page.goto(live_server.url)
    expect(page).to_have_title("GLISK")
    expect(page.get_by_text("Nothing has been revealed yet.")).to_be_visible()
    box = page.locator('#way-list [data-token="7"]')
    expect(box).to_contain_text("generating")
    page.evaluate("window.untouched = true")

    token.mark_uploading(image_cid="bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy")
    expect(box).to_contain_text("uploading")
    token.mark_ready(metadata_cid="QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG")
    token.mark_revealed(tx_hash=hash32(7))

    card = page.locator('#cards [data-token="7"]')
    expect(card.locator("img")).to_be_visible()
    expect(box).to_have_count(0)
    expect(page.get_by_text("Nothing has been revealed yet.")).to_be_hidden()
    page.wait_for_function(
        "document.querySelector('#cards [data-token=\"7\"] img').naturalWidth === 64"
    )
    assert page.evaluate("window.untouched") is True


def test_long_numbers_fit_into_the_gallery(page: Page, live_server: LiveServer) -> None:
    for token_id, status in enumerate(TokenStatus, start=12_345_670):
        TokenFactory.create(token_id=token_id, status=status)
    page.goto(live_server.url)
    expect(page.locator(".box")).to_have_count(5)
    too_wide = "items => items.filter(item => item.scrollWidth > item.clientWidth).length"
    for width in (320, 390, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.locator(".box, .card, html").evaluate_all(too_wide) == 0


def test_the_gallery_is_honest_about_pictures_that_are_lost_or_unknown(
    page: Page, live_server: LiveServer
) -> None:
    adopted = {"status": TokenStatus.REVEALED, "adopted_uri": "ipfs://Qm", "image_cid": None}
    shown, lost = (TokenFactory.create(status=TokenStatus.REVEALED) for _ in range(2))
    unknown = TokenFactory.create(**adopted)
    LOST.add(str(lost.image_cid))
    page.goto(live_server.url)
    expect(page.locator(f'[data-token="{lost.pk}"] .missing')).to_be_visible()
    expect(page.locator(f'[data-token="{shown.pk}"] .missing')).to_be_hidden()
    expect(page.locator(f'[data-token="{unknown.pk}"] .unknown')).to_be_visible()
    another = TokenFactory.create(**adopted)
    expect(page.locator(f'[data-token="{another.pk}"] .unknown')).to_be_visible()
    expect(page.locator(f'[data-token="{another.pk}"] .missing')).to_be_hidden()


def test_what_leaves_the_gallery_is_on_the_older_page(page: Page, live_server: LiveServer) -> None:
    page.goto(live_server.url)
    older = page.locator("#older")
    expect(older).to_be_hidden()
    with transaction.atomic():  # the page sees all of them at once
        for token_id in range(1, gallery_module.REVEALS_SHOWN + 2):
            TokenFactory.create(token_id=token_id, status=TokenStatus.REVEALED, mint_event=None)
    expect(older).to_be_visible()
    older.click()
    expect(page.locator("#cards [data-token]")).to_have_count(1)
    expect(page.locator('#cards [data-token="1"]')).to_be_visible()
    expect(page.locator("#signal")).to_be_hidden()


def test_the_gallery_says_that_the_database_is_away_and_recovers(
    page: Page, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    TokenFactory.create(token_id=1, status=TokenStatus.REVEALED)

    def fail(*args: object) -> None:
        raise OperationalError

    with monkeypatch.context() as outage:
        outage.setattr(gallery_module, "gallery_state", fail)
        page.goto(live_server.url)
        expect(page.get_by_text("The tokens cannot be read at the moment.")).to_be_visible()
        expect(page.locator("#signal")).to_contain_text("does not answer", timeout=60_000)
    expect(page.locator('[data-token="1"] img')).to_be_visible(timeout=60_000)
    expect(page.get_by_text("The tokens cannot be read")).to_have_count(0)
    expect(page.locator("#signal")).to_have_text("Live")


def sign_in(page: Page, address: str) -> None:
    User.objects.create_superuser("operator", password=PASSWORD)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(address)
    page.fill("[name=username]", "operator")
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")


def test_the_admin_leads_from_login_to_a_token(page: Page, live_server: LiveServer) -> None:
    token: Token = add_ready_token(1)
    sign_in(page, f"{live_server.url}/admin/")

    ready = page.locator(".glisk-funnel .is-ready .glisk-funnel-number")
    expect(ready).to_have_text("1")
    add_image(TokenFactory.create(status=TokenStatus.READY))
    expect(ready).to_have_text("2", timeout=60_000)  # by itself

    page.locator(".glisk-funnel .is-ready a").click()
    page.get_by_role("link", name=f"#{token.pk}", exact=True).click()
    expect(page.locator(".glisk-head h2")).to_have_text(token.name)
    expect(page.locator(".glisk-timeline li.is-move")).to_have_count(3)
    page.wait_for_function("document.querySelector('.glisk-picture img').naturalWidth === 200")
    page.set_viewport_size({"width": 390, "height": 844})
    _fits(page)
    page.goto(f"{live_server.url}/admin/authors/author/{token.author_id}/change/")
    _fits(page)


def _fits(page: Page) -> None:
    """Nothing is wider than the screen, not even addresses and hashes."""
    page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")


def test_a_prompt_is_counted_while_it_is_typed(page: Page, live_server: LiveServer) -> None:
    sign_in(page, f"{live_server.url}/admin/authors/author/add/")
    counter = page.locator(".glisk-counter")
    expect(counter).to_have_text("0 / 1000")
    page.fill("[name=wallet_address]", wallet(0xA11CE).lower())
    page.fill("[name=prompt_text]", "🦊" * 1001)
    expect(counter).to_have_text("1001 / 1000")
    expect(counter).to_have_class("glisk-counter is-over")
    page.fill("[name=prompt_text]", "🦊" * 1000)
    expect(counter).to_have_class("glisk-counter")
    page.click("[name=_save]")
    expect(page.get_by_text("was added successfully")).to_be_visible()


def test_the_api_pages_show_the_api(page: Page, live_server: LiveServer) -> None:
    for path in ("docs", "redoc"):
        page.goto(f"{live_server.url}/{path}")
        shown = page.get_by_text("/api/authors/leaderboard").first
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            expect(shown).to_be_attached(timeout=60_000)


def test_the_docs_are_dark_where_the_system_is(page: Page, live_server: LiveServer) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(f"{live_server.url}/docs")
    html = page.locator("html")
    expect(html).to_have_class("dark-mode")
    expect(page.locator("body")).to_have_css("background-color", "rgb(28, 32, 34)")
    page.emulate_media(color_scheme="light")
    expect(html).not_to_have_class("dark-mode")
    expect(page.locator("body")).to_have_css("background-color", "rgb(250, 250, 250)")
    title = page.locator("#redoc h1").first
    page.goto(f"{live_server.url}/redoc")
    expect(title).to_have_css("color", "rgb(51, 51, 51)", timeout=60_000)
    page.emulate_media(color_scheme="dark")
    page.reload()
    expect(title).to_have_css("color", "rgb(209, 213, 219)", timeout=60_000)
