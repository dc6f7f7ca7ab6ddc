"""Pictures of the demo's pages, taken by Chromium; for the README, and to look at changes."""

from __future__ import annotations

import math
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
from PIL import Image
from playwright.sync_api import (
    Browser,
    Error,
    Page,
    Playwright,
    ViewportSize,
    sync_playwright,
)

from sandbox.demo.people import CAST, COLLECTOR_INDICES
from sandbox.world import World

_SIZE: ViewportSize = {"width": 1440, "height": 900}
_TALL: ViewportSize = {"width": 1440, "height": 1130}
_WHOLE_FORM: ViewportSize = {"width": 1440, "height": 1300}
_PHONE: ViewportSize = {"width": 390, "height": 844}
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SETTLE_MS = 600
# Lists load their thumbnails late; those far below are never asked for.
_PICTURES_IN_SIGHT = """[...document.images].every((image) =>
    image.complete || image.getBoundingClientRect().top > innerHeight)"""
_JPEG_QUALITY = 82
_SHEET_SIZE = (1000, 2600)  # pixels, at most
_SHEET_QUALITIES = (82, 74, 66, 58)
_MOST_BYTES = 250_000
_KEPT_NEWEST = 12  # tokens whose times are their own

_HOURS = 23
_PATIENCE_SECONDS = 60.0
_MOVES = (
    "UPDATE tokens_s0 SET mint_timestamp = mint_timestamp - %(by)s, "
    "status_changed_at = status_changed_at - %(by)s + %(longer)s, "
    "revealed_at = revealed_at - %(by)s + %(longer)s WHERE token_id = %(token)s",
    "UPDATE token_transitions SET created_at = created_at - %(by)s WHERE token_id = %(token)s",
    "UPDATE image_generation_jobs SET created_at = created_at - %(by)s, "
    "submitted_at = submitted_at - %(by)s, completed_at = completed_at - %(by)s "
    "WHERE token_id = %(token)s",
    "UPDATE ipfs_upload_records SET created_at = created_at - %(by)s WHERE token_id = %(token)s",
)


class ScreenshotError(Exception):
    """Chromium is not there, or a page could not be shown; the message says which."""


def take_screenshots(
    directory: Path, world: World, *, user: str, password: str, terminal_svg: str
) -> None:
    """Save pictures of gallery, admin and terminal.

    The tokens are spread over a day, some are made to fail, and a key is revoked for a while.

    Raises:
        ScreenshotError: Chromium is not installed, a page is broken, or the world did not follow.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with sync_playwright() as playwright:
            browser = _launch(playwright)
            album = _Album(browser, directory, world.ports.url("web"), user, password)
            _take(album, world)
            _save_svg(browser, directory / "terminal.png", terminal_svg)
            browser.close()
    except Error as error:
        raise ScreenshotError(error.message.strip()) from error
    except TimeoutError as error:
        raise ScreenshotError(str(error)) from error


def shrink(picture: Path, target: Path) -> None:
    """Save a picture as a JPEG small enough for a page."""
    with Image.open(picture) as opened:
        opened.thumbnail(_SHEET_SIZE, Image.Resampling.LANCZOS)
        small = opened.convert("RGB")
    for quality in _SHEET_QUALITIES:
        small.save(target, "JPEG", quality=quality, optimize=True, progressive=True)
        if target.stat().st_size <= _MOST_BYTES:
            break


def _take(album: _Album, world: World) -> None:
    album.picture("gallery.jpg", "/", scheme="dark")
    (failed, *_) = fail_tokens(world, number=2)
    newest = token_ids(world, "revealed")[-1]
    spread_over_a_day(world, keep_newest=_KEPT_NEWEST)
    token = f"/admin/tokens/token/{newest}/change/"
    album.picture("dashboard.png", "/admin/", size=_TALL)
    album.picture("dashboard-dark.png", "/admin/", size=_TALL, scheme="dark")
    album.picture("dashboard-phone.png", "/admin/", size=_PHONE)
    album.picture("tokens.jpg", "/admin/tokens/token/")
    album.picture("token.jpg", token)
    album.picture("token-phone.jpg", token, size=_PHONE)
    album.picture("failed.png", f"/admin/tokens/token/{failed}/change/")
    album.picture("retry.png", f"/admin/tokens/token/action/retry/?keys={failed}")
    album.picture("author.png", "/admin/authors/author/2/change/", size=_WHOLE_FORM)
    album.picture("controls.png", "/admin/glisk/systemstate/controls/")
    with revoked_key(world, number=3) as waiting:
        album.picture("pinata-dashboard.png", "/admin/")
        album.picture("pinata-token.png", f"/admin/tokens/token/{waiting[0]}/change/")


class _Album:
    """Pictures of one server's pages, in windows of any size; signed in once for each look."""

    def __init__(
        self, browser: Browser, directory: Path, base_url: str, user: str, password: str
    ) -> None:
        self._browser, self._directory, self._base_url = browser, directory, base_url
        self._user, self._password = user, password

    def picture(
        self, name: str, address: str, *, size: ViewportSize = _SIZE, scheme: str = "light"
    ) -> None:
        """Save what is seen at an address; `.jpg` is for photographs."""
        path = self._directory / name
        with self._page(size, scheme) as page:
            if address.startswith("/admin/"):
                self._log_in(page)
            page.goto(f"{self._base_url}{address}")
            # The pages go on asking for news: the network is never idle for long.
            page.wait_for_load_state("load")
            page.wait_for_function(_PICTURES_IN_SIGHT)
            page.wait_for_timeout(_SETTLE_MS)
            photographic = path.suffix == ".jpg"
            page.screenshot(
                path=path,
                type="jpeg" if photographic else "png",
                quality=_JPEG_QUALITY if photographic else None,
            )
        if not photographic:
            _reduce(path)

    @contextmanager
    def _page(self, size: ViewportSize, scheme: str) -> Iterator[Page]:
        context = self._browser.new_context(
            viewport=size, color_scheme="dark" if scheme == "dark" else "light"
        )
        try:
            yield context.new_page()
        finally:
            context.close()

    def _log_in(self, page: Page) -> None:
        page.goto(f"{self._base_url}/admin/login/?next=/admin/")
        page.fill("input[name=username]", self._user)
        page.fill("input[name=password]", self._password)
        page.press("input[name=password]", "Enter")
        page.wait_for_url(f"{self._base_url}/admin/")


def _reduce(path: Path) -> None:
    """Save a picture of a page with 256 colours: a quarter of the bytes, and nobody sees it."""
    with Image.open(path) as opened:
        small = opened.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, "PNG", optimize=True)


def _launch(playwright: Playwright) -> Browser:
    # Chromium's own sandbox needs rights that root in a container does not have.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    installed = next(filter(None, map(shutil.which, _CHROMIUM_NAMES)), None)
    try:
        return playwright.chromium.launch(args=arguments)
    except Error:  # playwright's own is not installed
        if installed is None:
            raise
        return playwright.chromium.launch(executable_path=installed, args=arguments)


def _save_svg(browser: Browser, path: Path, svg: str) -> None:
    page = browser.new_page(viewport=_SIZE, device_scale_factor=1.5)
    page.set_content(f"<body style='margin:0;display:inline-block;width:1180px'>{svg}</body>")
    page.locator("svg").first.screenshot(path=path, omit_background=True)
    _reduce(path)


# -- what the pictures need beside a demo that went well: a day, failures, a revoked key ------
# Of the day only times are moved: what happened, happened.


def spread_over_a_day(world: World, *, keep_newest: int) -> None:
    """Move all but the newest revealed tokens into the past."""
    stream = random.Random(7)
    tokens = token_ids(world, "revealed")
    tokens = tokens[: max(0, len(tokens) - keep_newest)]
    with psycopg.connect(world.database_url()) as connection:
        for token, hour in zip(tokens, _hours(len(tokens), stream), strict=True):
            by = timedelta(hours=hour, seconds=stream.uniform(-1500, 1500))
            longer = timedelta(seconds=stream.lognormvariate(1.0, 0.7))
            given = {"by": by, "longer": longer, "token": token}
            for statement in _MOVES:
                connection.execute(statement, given)


def _hours(number: int, stream: random.Random) -> list[int]:
    """Return hours ago: quiet at night, busy in two waves of the day."""
    hours = range(1, _HOURS + 1)
    weights = [1.2 + math.sin(hour / 3.4) + 0.5 * math.sin(hour / 1.3) for hour in hours]
    return stream.choices(hours, weights, k=number)


def token_ids(world: World, status: str) -> list[int]:
    """Return the tokens in a state, oldest first."""
    with psycopg.connect(world.database_url()) as connection:
        rows = connection.execute(
            "SELECT token_id FROM tokens_s0 WHERE status = %s ORDER BY token_id", [status]
        )
        return [row[0] for row in rows.fetchall()]


def fail_tokens(world: World, *, number: int) -> list[int]:
    """Have a vendor refuse the prompts of some mints; return the tokens that failed."""
    world.control("replicate", "faults", {"flagged_rate": 1.0})
    try:
        _mint(world, number)
        _wait(lambda: len(token_ids(world, "failed")) >= number, "no token failed")
    finally:
        world.control("replicate", "faults", {"flagged_rate": 0.0})
    return token_ids(world, "failed")


@contextmanager
def revoked_key(world: World, *, number: int) -> Iterator[list[int]]:
    """Let Pinata refuse the key while some tokens are on their way; yield those that wait."""
    world.control("pinata", "faults", {"key_revoked": True})
    try:
        _mint(world, number)
        _wait(lambda: len(token_ids(world, "uploading")) >= number, "no token waits for Pinata")
        _wait(lambda: _is_open(world, "pinata"), "Pinata is called in spite of its answer")
        yield token_ids(world, "uploading")
    finally:
        world.control("pinata", "faults", {"key_revoked": False})


def _mint(world: World, number: int) -> None:
    author = CAST[0].wallet
    world.chain.wait(world.chain.mint(COLLECTOR_INDICES[0], author, number))


def _is_open(world: World, breaker: str) -> bool:
    with psycopg.connect(world.database_url()) as connection:
        row = connection.execute(
            "SELECT state_value ->> 'state' FROM system_state WHERE state_key = %s",
            [f"breaker:{breaker}"],
        ).fetchone()
    return row is not None and row[0] == "open"


def _wait(condition: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{problem} in {_PATIENCE_SECONDS:.0f} s")
        time.sleep(0.2)
