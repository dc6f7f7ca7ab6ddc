"""Pictures of the demo's pages, taken by Chromium; for the README, and to look at changes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import (
    Browser,
    Error,
    Page,
    Playwright,
    ViewportSize,
    sync_playwright,
)

_SIZE: ViewportSize = {"width": 1440, "height": 900}
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SETTLE_MS = 400
_JPEG_QUALITY = 86
_SHEET_SIZE = (1400, 4000)  # pixels, at most


class ScreenshotError(Exception):
    """Chromium is not there, or a page could not be shown; the message says which."""


def take_screenshots(
    directory: Path, *, base_url: str, user: str, password: str, terminal_svg: str
) -> list[Path]:
    """Save pictures of gallery, admin and terminal; return their paths.

    Raises:
        ScreenshotError: Chromium is not installed, or a page is broken.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        return _take(directory, base_url, user, password, terminal_svg)
    except Error as error:
        raise ScreenshotError(error.message.strip()) from error


def shrink(picture: Path, target: Path) -> Path:
    """Save a picture as a JPEG small enough for a page."""
    with Image.open(picture) as opened:
        opened.thumbnail(_SHEET_SIZE, Image.Resampling.LANCZOS)
        opened.convert("RGB").save(
            target, "JPEG", quality=_JPEG_QUALITY, optimize=True, progressive=True
        )
    return target


def _take(
    directory: Path, base_url: str, user: str, password: str, terminal_svg: str
) -> list[Path]:
    with sync_playwright() as playwright:
        browser = _launch(playwright)
        page = browser.new_page(viewport=_SIZE, color_scheme="dark")
        saved = [_save(page, directory / "gallery.jpg", f"{base_url}/")]
        _log_in(page, base_url, user, password)
        saved += [
            _save(page, directory / "admin.png", f"{base_url}/admin/"),
            _save(page, directory / "tokens.png", f"{base_url}/admin/tokens/token/"),
            _save(page, directory / "token.jpg", f"{base_url}/admin/tokens/token/1/change/"),
            _save_svg(browser, directory / "terminal.png", terminal_svg),
        ]
        browser.close()
    return saved


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


def _log_in(page: Page, base_url: str, user: str, password: str) -> None:
    page.goto(f"{base_url}/admin/login/?next=/admin/")
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(f"{base_url}/admin/")


def _save(page: Page, path: Path, url: str) -> Path:
    page.goto(url)
    # The pages go on asking for news: the network is never idle for long.
    page.wait_for_load_state("load")
    page.wait_for_timeout(_SETTLE_MS)
    photographic = path.suffix == ".jpg"
    page.screenshot(
        path=path,
        type="jpeg" if photographic else "png",
        quality=_JPEG_QUALITY if photographic else None,
    )
    return path


def _save_svg(browser: Browser, path: Path, svg: str) -> Path:
    page = browser.new_page(viewport=_SIZE, device_scale_factor=1.5)
    page.set_content(f"<body style='margin:0;display:inline-block;width:1180px'>{svg}</body>")
    page.locator("svg").first.screenshot(path=path, omit_background=True)
    return path
