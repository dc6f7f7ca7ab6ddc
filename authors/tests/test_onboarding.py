"""Taking authors in by the operator's command: checked, idempotent, all or nothing."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from authors.models import Author
from authors.onboarding import NewAuthor, onboard_author
from authors.tests.factories import AuthorFactory, wallet
from glisk.tests.waiting import at_once

WALLET = wallet(0xA11CE)


def run(*arguments: Any, **options: Any) -> str:
    out = StringIO()
    call_command("onboard_author", *arguments, stdout=out, **options)
    return out.getvalue()


@pytest.mark.django_db
class TestOne:
    def test_an_author_is_created_kept_and_brought_up_to_date(self) -> None:
        out = run(WALLET, prompt=" Misty ridges ", x="@ridges", farcaster="ridges.base.eth")
        assert out == f"{WALLET}  created  @ridges\n"
        author = Author.objects.get()
        assert (author.wallet_address, author.prompt_text) == (WALLET, "Misty ridges")
        assert (author.twitter_handle, author.farcaster_handle) == ("ridges", "ridges.base.eth")
        assert "unchanged" in run(WALLET.lower(), prompt="Misty ridges", x="ridges")
        assert Author.objects.get().updated_at == author.updated_at
        assert "updated" in run(WALLET, prompt="New")
        author.refresh_from_db()
        assert (author.prompt_text, author.twitter_handle) == ("New", "ridges")
        assert author.updated_at > author.created_at

    def test_the_prompt_may_come_from_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "prompt.txt"
        file.write_text("\ufeffEin Wald bei Nacht, überall Glühwürmchen\n", encoding="utf-8")
        run(WALLET, prompt_file=file)
        assert Author.objects.get().prompt_text == "Ein Wald bei Nacht, überall Glühwürmchen"

    def test_a_dry_run_writes_nothing(self) -> None:
        out = run(WALLET, prompt="Misty ridges", dry_run=True)
        assert "created" in out
        assert "nothing was written" in out
        assert not Author.objects.exists()
        AuthorFactory(wallet_address=WALLET, prompt_text="Old")
        assert "updated" in run(WALLET, prompt="New", dry_run=True)
        assert Author.objects.get().prompt_text == "Old"


@pytest.mark.django_db
def test_what_makes_no_sense_is_refused() -> None:
    for new, fault in (
        (NewAuthor("0x12", "A prompt"), "not an Ethereum address"),
        (NewAuthor("", "A prompt"), "not an Ethereum address"),
        (NewAuthor("0x" + "0" * 40, "A prompt"), "zero address"),
        (NewAuthor("0x15D34AAf54267DB7D7c367839AAf71A00a2C6A65", "A prompt"), "EIP-55"),
        (NewAuthor(WALLET), "needs a prompt"),
        (NewAuthor(WALLET, "  "), "empty"),
        (NewAuthor(WALLET, "x" * 1001), "1001 characters"),
        (NewAuthor(WALLET, "a\x00b"), "control character"),
        (NewAuthor(WALLET, "A prompt", "no spaces"), "no X handle"),
        (NewAuthor(WALLET, "A prompt", "x" * 51), "no X handle"),
        (NewAuthor(WALLET, "A prompt", ""), "no X handle"),
        (NewAuthor(WALLET, "A prompt", None, "UPPER"), "no Farcaster name"),
        (NewAuthor(WALLET, "A prompt", None, "a.b"), "no Farcaster name"),
    ):
        with pytest.raises(ValidationError) as caught:
            onboard_author(new, actor="test")
        assert fault in " ".join(caught.value.messages)
        assert not Author.objects.exists()
    with pytest.raises(ValidationError) as caught:
        onboard_author(NewAuthor("0x12", " ", "no spaces", "UPPER"), actor="test")
    assert len(caught.value.messages) == 4


@pytest.mark.django_db
class TestMany:
    def file(self, tmp_path: Path, text: str) -> Path:
        file = tmp_path / "authors.csv"
        file.write_text(text, encoding="utf-8")
        return file

    def test_all_are_taken_in_and_an_empty_cell_changes_nothing(self, tmp_path: Path) -> None:
        text = f'\ufeffx,wallet,prompt\none,{wallet(1)},"One, with a comma\nand a line"\n'
        file = self.file(tmp_path, f"{text},{wallet(2)},Two\n")
        assert run(file=file).count("created") == 2
        assert run(file=file).count("unchanged") == 2
        author = Author.objects.get(wallet_address=wallet(1))
        assert (author.prompt_text, author.twitter_handle) == (
            "One, with a comma\nand a line",
            "one",
        )
        run(file=self.file(tmp_path, f"wallet,prompt,x\n{wallet(1)},,uno\n"))
        author.refresh_from_db()
        assert (author.prompt_text[:3], author.twitter_handle) == ("One", "uno")

    def test_one_fault_stops_them_all_and_every_fault_is_named(self, tmp_path: Path) -> None:
        again = f" {wallet(1).lower()},Three"
        rows = f"wallet,prompt,\r\n{wallet(1)},One\r\n,,\r\n0x2,Two\r\n{wallet(3)},\r\n{again}\r\n"
        with pytest.raises(CommandError) as caught:
            run(file=self.file(tmp_path, rows))
        for fault in ("0x2: ", f"{wallet(3)}: ", "stands in row 1 already"):
            assert fault in str(caught.value)
        assert not Author.objects.exists()

    def test_what_makes_no_sense_is_refused(self, tmp_path: Path) -> None:
        for text, fault in (
            ("", "first line must name the columns"),
            ("prompt\nOne\n", "first line must name the columns"),
            ("wallet,prompt\n", "has no authors"),
            ("wallet,prompt\n0x1,One, two\n", "line 2: more cells than columns"),
        ):
            with pytest.raises(CommandError, match=fault):
                run(file=self.file(tmp_path, text))
        with pytest.raises(CommandError, match="cannot be read"):
            run(file=tmp_path / "nothing.csv")
        with pytest.raises(CommandError, match="--file excludes"):
            run(WALLET, prompt="One", file=self.file(tmp_path, ""))
        with pytest.raises(CommandError, match="Give a wallet"):
            run()
        assert not Author.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_operators_at_once_make_one_author() -> None:
    def onboard(number: int) -> str:
        return onboard_author(NewAuthor(WALLET, f"Prompt {number}"), actor="test")[1]

    assert sorted(at_once(2, onboard)) == ["created", "updated"]
    assert Author.objects.count() == 1
