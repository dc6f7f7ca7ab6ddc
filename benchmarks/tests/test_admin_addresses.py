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

# The dashboard has the most: eight of its queries find what holds work back, and why.
MOST_QUERIES = 23
# These answer to POST only, lead elsewhere, or refuse everybody.
_NO_PAGE = re.compile(
    r"login|logout|password_change_done|autocomplete|view_on_site|\w+_process_import|\w+_delete|\w+_history"
    r"|(?!authors_author|auth_)\w+_add"
)


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(300)
def test_every_page_is_known_and_asks_little_whatever_its_table_holds(client: Client) -> None:
    client.force_login(User.objects.create_superuser(OPERATOR))
    fill(tokens=500)
    connection.ensure_connection()
    add_operators_work(connection.connection)
    client.get("/admin/")  # what is kept from its first use on, is kept now
    # One of each kind: an order or a filter of a list costs the same, whatever its value.
    kinds: dict[str, str] = {}
    for page in addresses(lambda page: client.get(page).content.decode(), value_of):
        if "p=200" not in page:  # so long is none of these lists
            kinds.setdefault(kind_of(page), page)
    names: set[str | None] = set()
    for kind, page in kinds.items():
        forget_all()
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(page)
        if answer.status_code == 302 and "p=" in page:
            continue  # a list's later page may not be there
        assert answer.status_code == 200, page
        names.add(resolve(page.partition("?")[0]).url_name)
        # Lists show 50 rows: a query for each of them would be too many.
        assert len(captured) <= MOST_QUERIES, kind
    assert names_of(site.urls[0]) - names == set()
    assert len(kinds) > 120


@pytest.mark.django_db
def test_the_preview_of_an_import_asks_little(admin_client: Client) -> None:
    known = [f"0x{number:040d}" for number in range(1, 11)]
    Author.objects.bulk_create(Author(wallet_address=wallet) for wallet in known)
    file = SimpleUploadedFile("authors.csv", authors_csv(known, 100))
    with CaptureQueriesContext(connection) as captured:
        page = admin_client.post(PREVIEW, {"import_file": file, "format": "0", "resource": ""})
    assert "confirm" in page.content.decode().lower()
    assert len(captured) <= MOST_QUERIES


def value_of(query: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def kind_of(page: str) -> str:
    """Return an address without the values that it asks about, filters and sorts by."""
    path, _, query = re.sub(r"(?<=[/=])(0x|Qm|baf|whevt_|\d)[\w,]*", "N", page).partition("?")
    names = sorted(part.partition("=")[0] for part in query.split("&"))
    return f"{path}?{' '.join(names)}"


def names_of(patterns: Iterable[URLPattern | URLResolver]) -> set[str]:
    """Return the names of all pages that somebody can look at."""
    found: set[str] = set()
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            found |= names_of(pattern.url_patterns)
        elif pattern.name and not _NO_PAGE.fullmatch(pattern.name):
            found.add(pattern.name)
    return found
