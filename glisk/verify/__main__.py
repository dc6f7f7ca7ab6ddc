"""Say line by line what holds of a token's provenance.

    python -m glisk.verify bundle.json
    python -m glisk.verify tokens.jsonl --node https://… --gateway https://…
    curl …/api/tokens/42/provenance | python -m glisk.verify -

exit status:
  0  everything that was checked holds
  1  something is false
  2  a source did not answer, or a file cannot be read; nothing was found to be false
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glisk.verify.checks import Check, Verdict, verify
from glisk.verify.sources import GATEWAY, NODES, Gateway, Node

_MARKS = {Verdict.HOLDS: "✓", Verdict.FALSE: "✗", Verdict.UNKNOWN: "?"}
_NOT_FAULTS = ("it is private", "metadata of this age do not tell it")


def main(arguments: list[str] | None = None) -> int:
    options = _read_arguments(arguments)
    gateway = None if options.offline else Gateway(options.gateway)
    faults = unanswered = bundles = 0
    for bundle in _bundles(options.files):
        bundles += 1
        node = None if options.offline else _node(options.node, bundle)
        checks = list(verify(bundle, gateway=gateway, node=node))
        if not options.offline and node is None and len(checks) > 1:
            checks.append(Check("The chain agrees", Verdict.UNKNOWN, "name a node: --node URL"))
        faults += sum(check.verdict is Verdict.FALSE for check in checks)
        unanswered += sum(
            check.verdict is Verdict.UNKNOWN and check.detail not in _NOT_FAULTS for check in checks
        )
        _tell(bundle, checks, contract=options.contract)
        faults += _is_foreign(bundle, options.contract)
    if not bundles:
        print("There is no bundle in what was given.", file=sys.stderr)
        return 2
    print(f"{bundles} checked: {faults} false, {unanswered} not answered")
    return 1 if faults else 2 if unanswered else 0


def _tell(bundle: Any, checks: list[Check], *, contract: str) -> None:
    token_id = bundle.get("token_id", "?") if isinstance(bundle, dict) else "?"
    print(f"Token {token_id}")
    if _is_foreign(bundle, contract):
        print(f"  {_MARKS[Verdict.FALSE]} The contract is {contract}")
    for check in checks:
        detail = f": {check.detail}" if check.detail else ""
        print(f"  {_MARKS[check.verdict]} {check.what}{detail}")


def _is_foreign(bundle: Any, contract: str) -> bool:
    told = str(bundle.get("contract", "")) if isinstance(bundle, dict) else ""
    return bool(contract) and told.lower() != contract.lower()


def _node(url: str, bundle: Any) -> Node | None:
    chain_id = bundle.get("chain_id") if isinstance(bundle, dict) else None
    found = url or NODES.get(chain_id if isinstance(chain_id, int) else 0, "")
    return Node(found) if found else None


def _bundles(files: list[str]) -> Iterator[Any]:
    """Yield what stands in the files: one JSON document each, or one a line."""
    for name in files:
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            print(f"{name} cannot be read: {error}", file=sys.stderr)
            sys.exit(2)
        try:
            yield json.loads(text)
            continue
        except ValueError:
            lines = [line for line in text.splitlines() if line.strip()]
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except ValueError:
                print(f"Line {number} of {name} is not JSON.", file=sys.stderr)
                sys.exit(2)


def _read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m glisk.verify",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a bundle, JSON lines, or -")
    parser.add_argument("--node", default="", metavar="URL", help="JSON-RPC; Base's own by default")
    parser.add_argument("--gateway", default=GATEWAY, metavar="URL", help=f"default {GATEWAY}")
    parser.add_argument("--contract", default="", metavar="0x…", help="it must be this one")
    parser.add_argument("--offline", action="store_true", help="only what follows from the bundle")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
