"""Regenerates, holds, releases, fails or rechecks tokens by number."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from tokens.management.repairing import RepairCommand, TokenIds
from tokens.repairs import (
    fail_by_hand,
    hold_tokens,
    recheck_tokens,
    regenerate_tokens,
    release_tokens,
)

_SERVICES = {
    "regenerate": regenerate_tokens,
    "hold": hold_tokens,
    "release": release_tokens,
    "fail": fail_by_hand,
}
_NEED_A_REASON = ("regenerate", "hold", "fail")


class Command(RepairCommand):
    help = (
        "Does by number what the admin does by click: regenerate (makes a new image and pays for "
        "it), hold, release, fail, recheck (against the chain)."
    )
    examples = """\
examples:
  manage.py repair_tokens recheck --token-ids 42
  manage.py repair_tokens hold --token-ids 3,7,20-25 --reason "the author asks us to wait"
  manage.py repair_tokens release --token-ids 3,7,20-25
  manage.py repair_tokens regenerate --token-ids 42 --reason "a hand too many" --dry-run
  manage.py repair_tokens fail --token-ids 42 --reason "the author withdrew the prompt"

exit status: 0 done, 1 nothing was done, 2 some tokens were skipped, with the reason.
"""

    actor = "repair_tokens"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=[*_SERVICES, "recheck"])
        parser.add_argument("--token-ids", action=TokenIds, required=True, help="As 3,7,20-25.")
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        action, wanted = options["action"], options["token_ids"]
        if action in _NEED_A_REASON and not options["reason"].strip():
            if not options["dry_run"]:
                raise CommandError(f"Say why, for the timeline: --reason is needed to {action}.")
            options["reason"] = "dry run"  # it is written nowhere
        if action == "recheck":
            dry_run = options["dry_run"]
            results = recheck_tokens(token_ids=wanted, actor=self.actor, dry_run=dry_run)
            self.summarise(results, dry_run=dry_run)
        else:
            self.carry_out(_SERVICES[action], wanted, options)
