"""The addresses that are measured are all there are, and none costs a query a row."""

import re
from collections.abc import Iterable
from typing import Any

import pytest
from django.contrib.admin.sites import site
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, resolve

from authors.models import Author
from benchmarks.admin_addresses import (
    OPERATOR,
    PREVIEW,
    add_operators_work,
    addresses,
    authors_csv,
)
from benchmarks.big_database import fill
from glisk.api.short_memory import forget_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

# The dashboard has the most: eight of its queries find what holds work back, and why.
MOST_QUERIES = 23
# These answer to POST only, lead elsewhere, or refuse everybody.
_NO_PAGE = re.compile(
    r"login|logout|password_change_done|autocomplete|view_on_site|\w+_process_import|\w+_delete"
    r"|(?!authors_author|auth_)\w+_add"
)


class Looker:
    """An operator's browser that counts the queries of each kind of page."""

    def __init__(self) -> None:
        self.client = Client()
        self.client.force_login(User.objects.get(username=OPERATOR))
        self.names: set[str | None] = set()
        self.queries: dict[str, int] = {}

    def get(self, page: str) -> str:
        return str(self.client.get(page).content.decode())

    def value(self, query: str) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0]

    def look(self, page: str) -> None:
        """Open a page; a list's later page may not be there."""
        forget_all()
        with CaptureQueriesContext(connection) as captured:
            answer = self.client.get(page)
        if answer.status_code == 302 and "p=" in page:
            return
        assert answer.status_code == 200, page
        self.names.add(resolve(page.partition("?")[0]).url_name)
        self.queries[kind_of(page)] = len(captured)

    def preview(self) -> int:
        """Return the queries of the preview of a file of authors."""
        known = Author.objects.order_by("-id").values_list("wallet_address", flat=True)
        new = len(known) - 10
        file = SimpleUploadedFile("authors.csv", authors_csv(known[:10], new))
        with CaptureQueriesContext(connection) as captured:
            page = self.client.post(PREVIEW, {"import_file": file, "format": "0", "resource": ""})
        assert "confirm" in page.content.decode().lower()
        return len(captured)


def sort_of(page: str) -> str:
    """Return a page's kind with what it filters and sorts by, without the values."""
    path, _, query = kind_of(page).partition("?")
    names = sorted(part.partition("=")[0] for part in query.split("&"))
    return f"{path}?{' '.join(names)}"


def kind_of(page: str) -> str:
    """Return an address without the numbers and names that it asks about."""
    return re.sub(r"(?<=[/=])(0x|Qm|baf|whevt_|\d)[\w,]*", "N", page)


def look_at_all(tokens: int) -> Looker:
    User.objects.create_superuser(OPERATOR)
    fill(tokens=tokens)
    connection.ensure_connection()
    add_operators_work(connection.connection)
    looker = Looker()
    looker.look("/admin/")  # what is kept from its first use on, is kept now
    # One of each kind: an order or a filter of a list costs the same, whatever its value.
    kinds: dict[str, str] = {}
    for page in addresses(looker.get, looker.value):
        if "p=200" not in page:  # so long is none of these lists
            kinds.setdefault(sort_of(page), page)
    for page in kinds.values():
        looker.look(page)
    looker.queries["preview"] = looker.preview()
    return looker


def names_of(patterns: Iterable[URLPattern | URLResolver]) -> set[str]:
    """Return the names of all pages that somebody can look at."""
    found: set[str] = set()
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            found |= names_of(pattern.url_patterns)
        elif pattern.name and not _NO_PAGE.fullmatch(pattern.name):
            found.add(pattern.name)
    return found


def test_every_page_is_known_and_asks_little_whatever_its_table_holds() -> None:
    # Lists show 50 rows: a query for each of them would be too many.
    looker = look_at_all(500)
    assert names_of(site.urls[0]) - looker.names == set()
    assert len(looker.queries) > 120
    assert max(looker.queries.values()) <= MOST_QUERIES, looker.queries
