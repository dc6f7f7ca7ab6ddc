"""Proves a set-up from the prompt to the reveal, before the first collector does."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from glisk.console.canary.checks import Answer, Canary, sample_to_use
from glisk.console.canary.first_mint import mint_and_follow, payer_from
from glisk.console.management.commands.check_setup import NOT_WELL
from glisk.management.base import ExplainedCommand, at_least, confirm
from tokens.pipeline.samples import sample_cost_usd

_WORDS = {True: "ok", False: "WRONG", None: "-"}


class Command(ExplainedCommand):
    help = (
        "Makes one paid image with the default prompt, pins it, reads it back and simulates its "
        "reveal, by the code that tokens go through. Says what each vendor answered."
    )
    examples = """\
examples:
  manage.py canary                  (before the first mint, and after a key was changed; asks first)
  manage.py canary --yes            (for scripts)
  manage.py canary --send --account-key-file payer.key     (a test network only: mints one token,
                                     and waits until web and workers have revealed it)

No reveal is sent. The image is a sample of the default author: it counts in the ledger and against
the daily cap. Run again, the command uses an image of the last hour, and finds a call whose reply
was lost: it does not pay twice.
exit status: 0 all is well, 1 nothing was done, 2 something is not, and its line says what to do.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--yes", action="store_true", help="Pay for one image unasked.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would be paid.")
        parser.add_argument("--send", action="store_true", help="Mint one token, all the way.")
        parser.add_argument(
            "--account-key-file",
            type=Path,
            metavar="FILE",
            help="With --send: a file with the private key, in hex, of the account that mints.",
        )
        parser.add_argument(
            "--timeout",
            type=at_least(1),
            default=600,
            metavar="SECONDS",
            help="With --send: wait so long for the reveal (600).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        payer = payer_from(options["account_key_file"]) if options["send"] else None
        known = sample_to_use()
        if known is None:
            question = f"One image will be paid for, about {sample_cost_usd():f} US dollars."
            if options["dry_run"]:
                self.stdout.write(question)
            else:
                confirm(question, yes=options["yes"])
        else:
            self.stdout.write(f"An image asked for at {known.created_at:%H:%M} UTC is used again.")
        if options["dry_run"]:
            minted = "; one token would be minted" if payer else ""
            self.stdout.write(f"Dry run on {settings.NETWORK}: nothing was asked or paid{minted}.")
            return
        self.stdout.write(f"{settings.NETWORK}\n")
        answers = list(map(self._show, Canary(known).run()))
        if payer and not _wrong(answers):
            steps = mint_and_follow(payer, timeout_seconds=options["timeout"])
            answers += map(self._show, steps)
        if wrong := _wrong(answers):
            raise CommandError(f"{wrong} of these must be fixed; see above.", returncode=NOT_WELL)
        self.stdout.write("All is well: a mint can come.")

    def _show(self, answer: Answer) -> Answer:
        style = {True: self.style.SUCCESS, False: self.style.ERROR, None: self.style.WARNING}
        word = style[answer.is_well](f"{_WORDS[answer.is_well]:<6}")
        self.stdout.write(
            f"{word} {answer.vendor:<10} {answer.subject:<14} {answer.seconds:6.1f} s  "
            f"{answer.text}"
        )
        self.stdout.flush()
        return answer


def _wrong(answers: list[Answer]) -> int:
    return sum(answer.is_well is False for answer in answers)
