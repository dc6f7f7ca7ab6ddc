"""Takes in prompt authors: one by options, or many from a CSV file."""

from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from authors.onboarding import NewAuthor, onboard_author
from authors.transfer import UnreadableFile, author_of, read_csv
from glisk.management.base import ExplainedCommand

ACTOR = "onboard_author"


class Command(ExplainedCommand):
    help = "Creates prompt authors, or brings what is stored of them up to date."
    examples = """\
examples:
  manage.py onboard_author 0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65 \\
      --prompt "Misty mountain ridges at sunrise" --x ridgewalker --farcaster ridge.eth
  manage.py onboard_author 0x15d3…6A65 --prompt-file prompt.txt    (the prompt from a file)
  manage.py onboard_author 0x15d3…6A65 --x newhandle              (change one thing only)
  manage.py onboard_author --file authors.csv --dry-run           (look before writing)

authors.csv is what the admin imports and exports; an empty cell changes nothing:
  wallet,prompt,x,farcaster
  0x15d3…6A65,"Misty mountain ridges, at sunrise",ridgewalker,ridge.eth

What is not given stays as it is. A second run with the same values changes nothing. A changed
prompt is used for tokens that are minted from then on.
"""
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("wallet", nargs="?", help="The author's wallet, 0x and 40 hex digits.")
        prompt = parser.add_mutually_exclusive_group()
        prompt.add_argument("--prompt", help="What tokens are painted by, 1 to 1000 characters.")
        prompt.add_argument("--prompt-file", type=Path, help="A text file with the prompt.")
        parser.add_argument("--x", metavar="HANDLE", help="Handle on X, with or without @.")
        parser.add_argument("--farcaster", metavar="NAME", help="Name on Farcaster.")
        parser.add_argument("--file", type=Path, help="A CSV file with several authors.")
        parser.add_argument("--dry-run", action="store_true", help="Check and say; write nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            authors = _from_file(options) if options["file"] else [_from_options(options)]
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise CommandError(f"{options['prompt_file']} is no text in UTF-8.") from None
        except UnreadableFile as error:
            raise CommandError(f"{options['file']} cannot be read: {error}") from None
        faults: list[str] = []
        lines: list[str] = []
        first_of: dict[str, int] = {}
        with transaction.atomic():
            for number, new in enumerate(authors, 1):
                first = first_of.setdefault(new.wallet.strip().lower(), number)
                try:
                    if first != number:
                        raise ValidationError(f"This wallet stands in row {first} already.")
                    author, outcome = onboard_author(new, actor=ACTOR, dry_run=options["dry_run"])
                except ValidationError as error:
                    faults += [f"{new.wallet}: {message}" for message in error.messages]
                    continue
                name = str(author) if str(author) != author.wallet_address else ""
                lines.append(f"{author.wallet_address}  {outcome}  {name}".rstrip())
            if faults:  # all or nothing: the transaction ends with this
                raise CommandError("Nothing was written.\n  " + "\n  ".join(faults))
        note = " (dry run: nothing was written)" if options["dry_run"] else ""
        self.stdout.write("\n".join(lines) + note)


def _from_options(options: dict[str, Any]) -> NewAuthor:
    if not options["wallet"]:
        raise CommandError("Give a wallet, or several authors by --file; see --help.")
    prompt = options["prompt"]
    if options["prompt_file"]:
        # With the mark of some editors, or without.
        prompt = options["prompt_file"].read_text(encoding="utf-8-sig")
    return NewAuthor(options["wallet"], prompt, options["x"], options["farcaster"])


def _from_file(options: dict[str, Any]) -> list[NewAuthor]:
    if any(options[name] for name in ("wallet", "prompt", "prompt_file", "x", "farcaster")):
        raise CommandError("--file excludes what is said of one author.")
    _, rows = read_csv(options["file"].read_bytes())
    if not rows:
        raise CommandError(f"{options['file']} has no authors.")
    return [author_of(row) for row in rows]
