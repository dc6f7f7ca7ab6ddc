"""Pieces of HTML that the admin's pages share."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from django.db.models import Model
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from glisk.clients.links import explorer_url, gateway_url

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
NOTHING = "–"
LONGEST_TEXT = 100_000


def duration(seconds: float | None) -> str:
    """Return a duration in its largest unit, few of it with the next: `12 min`, `2 h 1 min`."""
    if seconds is None:
        return NOTHING
    for (unit, size), (smaller_unit, smaller_size) in pairwise(_UNITS):
        if seconds >= size:
            whole, rest = divmod(int(seconds), size)
            if whole >= 10:
                return f"{seconds / size:.0f} {unit}"
            smaller = rest // smaller_size
            return f"{whole} {unit} {smaller} {smaller_unit}" if smaller else f"{whole} {unit}"
    return f"{max(seconds, 0):.0f} s" if seconds >= 10 or seconds < 1 else f"{seconds:.1f} s"


def moment(at: datetime) -> str:
    """Return a moment as all pages show it: to the second, in UTC, with the zone's name."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def age(at: datetime | None) -> SafeString | str:
    """Return how long ago a moment was, with the moment itself as the tooltip."""
    if at is None:
        return NOTHING
    passed = duration((timezone.now() - at).total_seconds())
    iso = at.isoformat(timespec="seconds")
    return format_html(
        '<time datetime="{}" title="{}" class="glisk-nowrap">{}</time>', iso, moment(at), passed
    )


def short(text: str | None) -> SafeString | str:
    """Return a hash, address or CID by its two ends, with a button that copies all of it."""
    if not text:
        return NOTHING
    shown = format_html('<code class="glisk-hash" title="{}">{}</code>', text, shortened(text))
    return copyable(text, shown)


def copyable(text: str, shown: SafeString | str = "") -> SafeString:
    """Return what is shown of a text (else all of it), and a button that copies it."""
    return format_html(
        '<span class="glisk-copied">{}<button type="button" class="glisk-copy" value="{}" '
        'aria-label="Copy {}" title="Copy"></button></span>',
        shown or text,
        text,
        shortened(text),
    )


def shortened(text: str) -> str:
    return text if len(text) <= 16 else f"{text[:8]}…{text[-6:]}"


def external_link(url: str, label: str, *, title: str = "") -> SafeString | str:
    """Return a link that opens beside the admin; only its label if there is no address."""
    if not url.startswith(("http://", "https://")):
        return label
    return format_html(
        '<a href="{}" title="{}" target="_blank" rel="noopener noreferrer" class="glisk-link">'
        "{}&nbsp;↗</a>",
        url,
        title or url,
        label,
    )


def hash_link(text: str | None, url: str) -> SafeString | str:
    """Return a hash to copy, shortened; as a link to explorer or gateway, if there is one."""
    if not text:
        return NOTHING
    if not url:
        return short(text)
    return copyable(text, external_link(url, shortened(text), title=text))


def wallet_link(address: str | None) -> SafeString | str:
    return hash_link(address, explorer_url("address", address))


def transaction_link(tx_hash: str | None) -> SafeString | str:
    return hash_link(tx_hash, explorer_url("tx", tx_hash))


def block_link(number: int | None) -> SafeString | str:
    """Return a block as a link to the explorer, if there is one."""
    return NOTHING if number is None else external_link(explorer_url("block", number), str(number))


def cid_link(cid: str | None) -> SafeString | str:
    return hash_link(cid, gateway_url(cid))


def clipped(text: str) -> SafeString | str:
    """Return a text cut to its column's width, whole in the tooltip."""
    if not text:
        return NOTHING
    return format_html('<span class="glisk-clip" title="{}">{}</span>', text, text)


def admin_link(target: Model, label: str = "") -> SafeString:
    """Return a link to an object's admin page."""
    meta = target._meta
    url = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[target.pk])
    return format_html('<a href="{}" class="glisk-link">{}</a>', url, label or str(target))


def json_block(value: Any) -> SafeString | str:
    """Return JSON, given as text or as a value, indented; anything else as it is."""
    if value in (None, "", b"", [], {}):
        return NOTHING
    if isinstance(value, bytes | memoryview):
        value = bytes(value).decode(errors="replace")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return text_block(value)
    return text_block(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def text_block(text: str | None) -> SafeString | str:
    """Return a longer text with its line breaks; only the beginning of a very long one."""
    if not text:
        return NOTHING
    cut = len(text) - LONGEST_TEXT
    shown = text if cut <= 0 else f"{text[:LONGEST_TEXT]}\n… and {cut:,} characters more"
    return format_html('<pre class="glisk-pre">{}</pre>', shown)


def ether(wei: int | None) -> str:
    """Return an amount in ETH with the digits that matter."""
    return NOTHING if wei is None else f"{_plain(Decimal(wei) / 10**18, 9)} ETH"


def gwei(wei: int | None) -> str:
    """Return an amount in gwei with the digits that matter."""
    return NOTHING if wei is None else f"{_plain(Decimal(wei) / 10**9, 6)} gwei"


def _plain(amount: Decimal, places: int) -> str:
    rounded = f"{amount:.{places}f}"
    if amount and not float(rounded):
        return f"{amount:.2g}"
    return rounded.rstrip("0").rstrip(".")
