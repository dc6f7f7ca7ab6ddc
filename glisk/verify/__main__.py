"""Say line by line what holds of a token's provenance.

    python -m glisk.verify bundle.json
    python -m glisk.verify tokens.jsonl --node https://… --gateway https://…
    curl …/api/tokens/42/provenance | python -m glisk.verify -

exit status:
  0  everything that can be checked holds
  1  something is false
  2  a source did not answer, or a file cannot be read; nothing was found to be false

marks: ✓ holds, ✗ is false, ? a source did not answer, - nobody tells it or can check it
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from glisk.verify.checks import Check, Verdict, verify
from glisk.verify.sources import GATEWAY, NODES, Gateway, Node

_MARKS = {Verdict.HOLDS: "✓", Verdict.FALSE: "✗", Verdict.UNKNOWN: "?", Verdict.UNTOLD: "-"}
_CHAINS = {8453: "Base", 84532: "Base Sepolia, a test network"}
_LONGEST_LINE = 600


def main(arguments: list[str] | None = None) -> int:
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal that has no ✓ still tells the rest
        sys.stdout.reconfigure(errors="replace")
    options = _read_arguments(arguments)
    gateway = None if options.offline else Gateway(options.gateway)
    verdicts: Counter[Verdict] = Counter()
    bundles = 0
    try:
        for bundle in _bundles(options.files):
            bundles += 1
            node = None if options.offline else _node(options.node, bundle)
            checks = list(verify(bundle, gateway=gateway, node=node, contract=options.contract))
            if not options.offline and node is None and len(checks) > 1:
                checks.append(Check("The chain agrees", Verdict.UNKNOWN, "name a node: --node URL"))
            verdicts.update(check.verdict for check in checks)
            _tell(bundles, bundle, checks)
        if not bundles:
            raise _UnreadableError("There is no bundle in what was given.")
    except _UnreadableError as error:
        print(error, file=sys.stderr)
        verdicts[Verdict.UNKNOWN] += 1
    false, unanswered = verdicts[Verdict.FALSE], verdicts[Verdict.UNKNOWN]
    print(f"{bundles} checked: {false} false, {unanswered} not answered")
    return 1 if false else 2 if unanswered else 0


class _UnreadableError(Exception):
    """A file cannot be read."""


def _tell(number: int, bundle: Any, checks: list[Check]) -> None:
    if len(checks) > 1:  # it has the form of one
        chain = _CHAINS.get(bundle["chain_id"], f"chain {bundle['chain_id']}")
        _say(f"Token {bundle['token_id']} of {bundle['contract']} on {chain}")
    else:
        _say(f"Bundle {number}")
    for check in checks:
        detail = f": {check.detail}" if check.detail else ""
        _say(f"  {_MARKS[check.verdict]} {check.what}{detail}")


def _say(line: str) -> None:
    """Print a line; what a bundle or a source says may hold no line of its own, and no command."""
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
    print(plain if len(plain) <= _LONGEST_LINE else plain[:_LONGEST_LINE] + "…")


def _node(url: str, bundle: Any) -> Node | None:
    chain_id = bundle.get("chain_id") if isinstance(bundle, dict) else None
    found = url or NODES.get(chain_id if isinstance(chain_id, int) else 0, "")
    return Node(found) if found else None


def _bundles(files: list[str]) -> Iterator[Any]:
    """Yield what stands in the files: one JSON document each, or one a line.

    Raises `_UnreadableError`.
    """
    for name in files:
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _UnreadableError(f"{name} cannot be read: {error}") from error
        try:
            yield json.loads(text)
            continue
        except (ValueError, RecursionError):
            pass
        for number, line in enumerate(text.split("\n"), 1):  # a prompt may hold other line ends
            try:
                if line.strip():
                    yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _UnreadableError(f"Line {number} of {name} is not JSON.") from error


def _read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m glisk.verify",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a bundle, JSON lines, or -")
    parser.add_argument("--node", default="", metavar="URL", help="JSON-RPC; Base's own by default")
    parser.add_argument("--gateway", default=GATEWAY, metavar="URL", help=f"default {GATEWAY}")
    parser.add_argument("--contract", default="", metavar="0x…", help="yours; default GLISK's")
    parser.add_argument("--offline", action="store_true", help="only what follows from the bundle")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
