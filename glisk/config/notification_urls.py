"""The addresses that alerts are sent to, in apprise's form: which they are, what is secret in them.

https://github.com/caronc/apprise/wiki names the forms: `discord://id/token`,
`mailto://user:password@host`. Nothing here needs the library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from glisk.config import Environment
from glisk.logging.redaction import MIN_SECRET_LENGTH

# A comma may stand within an address (`?to=a@b.example,c@d.example`): the next one has a scheme.
_BETWEEN = re.compile(r"[\s,;]+(?=[A-Za-z0-9]+://)")
_FORM = re.compile(r"[A-Za-z0-9]+://\S+")
_PLACES = re.compile(r"(?:(?P<account>.*)@)?(?P<host>[^/?#@]*)(?P<rest>.*)")


def split_urls(text: str) -> list[str]:
    """Return the addresses of a list, which commas, semicolons or white space separate."""
    return [url for url in _BETWEEN.split(text.strip().rstrip(",;")) if url]


def judge(env: Environment, **lists: list[str]) -> None:
    """Make what is no address a fault, told by its place; keep the others' parts as secrets."""
    for name, urls in lists.items():
        for number, url in enumerate(urls, 1):
            if _FORM.fullmatch(url) is None:
                env.fault(name, f"entry {number} is not an address of apprise (scheme://…)")
            env.secrets += [(name, part) for part in secret_parts(url)]


def secret_parts(url: str) -> Iterator[str]:
    """Yield the address and those of its parts that may be keys; an error may name just these.

    A service's key may stand in any place: as account, as host, in the path, in the query. Words
    in plain letters are no keys, nor are the names of hosts.
    """
    yield url
    found = _PLACES.fullmatch(url.partition("://")[2])
    if found is None:
        return
    account, host, rest = (found[name] or "" for name in ("account", "host", "rest"))
    yield from _both_spellings(account.partition(":")[2])
    places = [account, rest] if "." in host or host.startswith("localhost") else [url]
    for place in places:
        for word in re.split(r"[/?&=@:,;#]+", place):
            yield from (part for part in _both_spellings(word) if _looks_made_up(part))


def _both_spellings(word: str) -> set[str]:
    return {word, unquote(word)}


def _looks_made_up(word: str) -> bool:
    if len(word) < MIN_SECRET_LENGTH:  # a port, and whatever else stands in .env.example as well
        return False
    return any(c.isdigit() for c in word) or word not in (word.lower(), word.upper())
