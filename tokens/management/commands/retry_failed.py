"""Puts failed tokens back into the stage they failed in."""

from typing import Any

from django.core.management.base import CommandParser

from glisk.management.base import at_least
from tokens.management.repairing import RepairCommand, TokenIds
from tokens.repairs import failed_token_ids, retry_tokens
from tokens.states import REPAIRS, Repair, TokenStatus

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

    actor = "retry_failed"

    def add_arguments(self, parser: CommandParser) -> None:
        stages = [stage.value for stage in TokenStatus if stage in FAILED_IN]
        parser.add_argument("--stage", choices=stages, help="Only those that failed there.")
        parser.add_argument("--error-class", help="Only this class, as the admin shows it.")
        parser.add_argument("--token-ids", action=TokenIds, help="Only these: 3,7,20-25.")
        parser.add_argument("--limit", type=at_least(1), help="So many at most, oldest mint first.")
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        named = options["token_ids"]
        chosen = {name: options[name] for name in ("stage", "error_class", "limit")}
        # Whoever names tokens only is told why they are skipped.
        only_named = named and not any(chosen.values())
        found = named if only_named else failed_token_ids(token_ids=named, **chosen)
        if found:
            self.carry_out(retry_tokens, found, options)
        else:
            self.stdout.write("No failed tokens of this kind.")
