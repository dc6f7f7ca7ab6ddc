"""Puts failed tokens back into the stage they failed in."""

from functools import partial
from typing import Any

from django.core.management.base import CommandParser

from glisk.management.base import at_least
from tokens.management.repairing import RepairCommand, token_ids
from tokens.repairs import failed_token_ids, retry_tokens
from tokens.states import REPAIRS, Repair, TokenStatus

ACTOR = "retry_failed"
FAILED_IN = REPAIRS[Repair.RETRY][TokenStatus.FAILED]


class Command(RepairCommand):
    help = (
        "Retries failed tokens in the stage they failed in. What is stored stays: an image that "
        "is here is not generated again. Asks before it spends money."
    )
    examples = """\
examples:
  manage.py retry_failed --dry-run                       (what would happen, and its cost)
  manage.py retry_failed --stage uploading               (costs nothing)
  manage.py retry_failed --error-class transient --yes   (without a question)
  manage.py retry_failed --token-ids 3,7,20-25 --reason "the vendor is well again"

exit status: 0 done, 1 nothing was done, 2 some tokens were skipped, with the reason.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        stages = [stage.value for stage in TokenStatus if stage in FAILED_IN]
        parser.add_argument("--stage", choices=stages, help="Only those that failed there.")
        parser.add_argument("--error-class", help="Only this class, as the admin shows it.")
        parser.add_argument("--token-ids", type=token_ids, help="Only these: 3,7,20-25.")
        parser.add_argument("--limit", type=at_least(1), help="So many at most, oldest mint first.")
        parser.add_argument("--reason", default="", help="Stands in the timeline.")
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be done.")
        parser.add_argument("--yes", action="store_true", help="Pay for predictions unasked.")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = self._wanted(options)
        if not wanted:
            self.stdout.write("No failed tokens of this kind.")
            return
        retry = partial(retry_tokens, token_ids=wanted, actor=ACTOR, reason=options["reason"])
        self.carry_out(retry, dry_run=options["dry_run"], yes=options["yes"])

    def _wanted(self, options: dict[str, Any]) -> list[int]:
        named = options["token_ids"]
        found = failed_token_ids(
            stage=options["stage"],
            error_class=options["error_class"],
            token_ids=named,
            limit=options["limit"],
        )
        if named is None or options["stage"] or options["error_class"] or options["limit"]:
            return found
        return sorted(set(named))  # whoever names a token is told why it is skipped
