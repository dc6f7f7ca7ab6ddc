"""Authors go out and in as CSV: previewed, every bad row named, all of them or none."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from authors import transfer
from authors.models import Author, PromptChange
from authors.tests.factories import AuthorFactory, wallet
from authors.transfer import COLUMNS

pytestmark = pytest.mark.django_db

IMPORT = "/admin/authors/author/import/"
CONFIRM = "/admin/authors/author/process_import/"
EXPORT = "/admin/authors/author/export/"
ONE, TWO, THREE = (wallet(0xCAFE + number) for number in range(3))


@pytest.fixture(autouse=True)
def _own_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def preview(client: Client, text: str | bytes) -> Any:
    data = text.encode() if isinstance(text, str) else text
    file = SimpleUploadedFile("authors.csv", data, content_type="text/csv")
    answer = client.post(IMPORT, {"import_file": file, "format": "0", "resource": ""})
    assert answer.status_code == 200
    return answer


def confirm(client: Client, looked_at: Any) -> Any:
    form = looked_at.context["confirm_form"]
    return client.post(CONFIRM, form.initial, follow=True)


def rows(*lines: str, header: str = "wallet,prompt,x,farcaster") -> str:
    return "\n".join((header, *lines)) + "\n"


def test_a_file_is_previewed_then_written(admin_client: Client) -> None:
    AuthorFactory.create(wallet_address=TWO, prompt_text="old <b>one</b>", twitter_handle="two")
    AuthorFactory.create(wallet_address=THREE, prompt_text="same")
    text = rows(f"{ONE.lower()},A fox,@fox,fox.eth", f"{TWO},new <i>one</i>,,", f"{THREE},same,,")
    looked_at = preview(admin_client, text)
    totals = looked_at.context["result"].totals
    assert {name: n for name, n in totals.items() if n} == {"new": 1, "update": 1, "skip": 1}
    # The whole of what goes and comes.
    page = looked_at.content.decode()
    gone, come = "<del>old &lt;b&gt;one&lt;/b&gt;</del>", "<ins>new &lt;i&gt;one&lt;/i&gt;</ins>"
    assert f"{gone} {come}" in page
    assert "<ins>A fox</ins>" in page
    assert "<span>two</span>" in page  # an empty cell leaves what is stored
    assert page.count("<del") == 1
    assert Author.objects.count() == 2
    assert not PromptChange.objects.exists()

    confirm(admin_client, looked_at)
    first, second = Author.objects.get(wallet_address=ONE), Author.objects.get(wallet_address=TWO)
    handles = (first.twitter_handle, first.farcaster_handle)
    assert (first.prompt_text, *handles) == ("A fox", "fox", "fox.eth")
    assert (second.prompt_text, second.twitter_handle) == ("new <i>one</i>", "two")
    changes = PromptChange.objects.values_list("author", "prompt_text", "actor")
    actor = "operator admin"
    assert set(changes) == {(each.pk, each.prompt_text, actor) for each in (first, second)}


def test_every_bad_row_is_named_and_nothing_can_be_confirmed(admin_client: Client) -> None:
    bad = {
        "0x12,A prompt,,": "not an Ethereum address",
        f"{ONE},,,": "A new author needs a prompt.",
        f"{TWO},{'x' * 1001},,": "1001 characters",
        f"{THREE},A prompt,no spaces,": "no X handle",
        f"{wallet(7)},A prompt,,UPPER": "no Farcaster name",
        f"{wallet(8)},Good,,": "",
        f"{wallet(8).lower()},Again,,": "stands in row 6 already",
    }
    answer = preview(admin_client, rows(*bad))
    page = answer.content.decode()
    for message in filter(None, bad.values()):
        assert message in page
    context = answer.context
    assert [row.number for row in context["result"].invalid_rows] == [1, 2, 3, 4, 5, 7]
    assert "confirm_form" not in context
    assert not Author.objects.exists()


def test_a_file_of_another_form_is_refused(admin_client: Client) -> None:
    for data, message in (
        (rows(f"{ONE},A fox", header="wallet,promt"), "found: wallet, promt"),
        (b"wallet,wallet\nx,y\n", "must name the columns"),
        (rows(f"{ONE},a,b,c,d"), "more cells than the header"),
        (b"\xff\xfe\x00", "no CSV file in UTF-8"),
        (b"wallet,prompt\n", "No valid data"),
    ):
        assert message in preview(admin_client, data).content.decode()
    assert not Author.objects.exists()


def test_what_went_bad_after_the_preview_stops_the_whole_file(admin_client: Client) -> None:
    author = AuthorFactory.create(wallet_address=TWO, prompt_text="old")
    looked_at = preview(admin_client, rows(f"{ONE},A fox,,", f"{TWO},,two,"))
    PromptChange.objects.all().delete()
    author.delete()  # now its row lacks a prompt
    page = confirm(admin_client, looked_at).content.decode()
    assert "Nothing was imported" in page
    assert not Author.objects.exists()


def test_an_author_who_was_taken_in_meanwhile_stops_the_whole_file(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = preview(admin_client, rows(f"{ONE},A fox,,", f"{TWO},A fox,,"))
    write = transfer.write_authors

    def late(**given: Any) -> None:
        AuthorFactory.create(wallet_address=TWO, prompt_text="mine")
        write(**given)

    monkeypatch.setattr(transfer, "write_authors", late)
    assert "Nothing was imported" in confirm(admin_client, looked_at).content.decode()
    assert not Author.objects.filter(wallet_address=ONE).exists()


PROMPTS = [
    "=1+1",
    "- a fox",
    "+1",
    "@x",
    "'@x",
    "''=x",
    "'Tis a fox",
    'two\nlines, "x"',
    "=two\r\nlines\n\nand -more",
    "a\rb",
    "\ufeffx",
]


def exported(client: Client) -> bytes:
    columns = {f"authorresource_{column}": "on" for column in COLUMNS}
    answer = client.post(EXPORT, {"format": "0", "resource": "", **columns})
    assert answer["Content-Type"].startswith("text/csv")
    content: bytes = answer.content
    return content


def as_saved(data: bytes) -> Iterator[bytes]:
    """Yield an exported file as somebody's program saved it."""
    yield data
    yield b"\xef\xbb\xbf" + data
    yield data.replace(b"\r\n", b"\n")
    yield data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    head, _, rest = data.partition(b"\r\n")
    nothing = b",,,,,,\r\n" + b'"",,\r\n' + b" , ,\t\r\n\r\n"
    yield head + b",,\r\n" + nothing + rest + nothing + b",,,"


@pytest.mark.pages
def test_an_export_comes_back_unchanged_and_no_cell_is_a_formula(
    admin_client: Client, tmp_path: Path
) -> None:
    for number, prompt in enumerate(PROMPTS):
        AuthorFactory.create(
            wallet_address=wallet(50 + number), prompt_text=prompt, twitter_handle="x" * 20
        )
    data = exported(admin_client)
    found = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    assert len(found) == len(PROMPTS)
    assert not [row for row in found if row["prompt"].startswith(("=", "-", "@", "+"))]

    file = tmp_path / "authors.csv"
    for saved in as_saved(data):
        result = preview(admin_client, saved).context["result"]
        assert {name: n for name, n in result.totals.items() if n} == {"skip": len(PROMPTS)}
        file.write_bytes(saved)
        out = io.StringIO()
        call_command("onboard_author", file=file, stdout=out)
        assert out.getvalue().count("unchanged") == len(PROMPTS)
    stored = Author.objects.values_list("prompt_text", flat=True)
    assert sorted(stored) == sorted(PROMPTS)


@pytest.mark.plans
def test_an_import_takes_few_queries(admin_client: Client) -> None:
    text = rows(*(f"{wallet(1000 + number)},A fox,," for number in range(200)))
    with CaptureQueriesContext(connection) as previewed:
        looked_at = preview(admin_client, text)
    with CaptureQueriesContext(connection) as written:
        confirm(admin_client, looked_at)
    assert Author.objects.count() == 200
    assert len(previewed) < 30
    assert len(written) < 60


def test_each_way_needs_its_permission(client: Client) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    client.force_login(clerk)
    for address in (IMPORT, EXPORT):
        assert client.get(address).status_code == 403
        assert client.post(address, {}).status_code == 403
    assert client.post(CONFIRM, {}).status_code == 403
