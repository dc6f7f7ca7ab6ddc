"""Writes the provenance of revealed tokens as JSON lines."""

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from glisk.management.base import ExplainedCommand, at_least
from reveals.provenance import bundles


class Command(ExplainedCommand):
    help = (
        "Writes one line of JSON for each revealed token, by id: what a stranger needs to check it "
        "(docs/provenance.md). Check them by `python -m glisk.verify FILE`."
    )
    examples = """\
examples:
  manage.py export_provenance > provenance.jsonl
  manage.py export_provenance --from-id 100 --to-id 199
  manage.py export_provenance --from-id 42 --to-id 42 | python -m glisk.verify -

exit status:
  0  written
  1  no token of these has a provenance
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from-id", metavar="N", type=at_least(1), default=1)
        parser.add_argument("--to-id", metavar="N", type=at_least(1), default=2**63 - 1)

    def handle(self, *args: Any, **options: Any) -> None:
        count = 0
        for bundle in bundles(first_id=options["from_id"], last_id=options["to_id"]):
            self.stdout.write(json.dumps(bundle, ensure_ascii=False, separators=(",", ":")))
            count += 1
        if not count:
            raise CommandError("No revealed token of these has a provenance.")
