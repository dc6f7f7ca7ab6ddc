"""Mint tokens in the running local world, as a collector would: `make mint`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox.accounts import AUTHORS
from sandbox.world import NoWorldError, World

_COLLECTOR = 1  # index of a development account
_MOST = 50  # the contract's MAX_BATCH_SIZE


def main(arguments: Sequence[str] | None = None) -> int:
    """Send one mint and wait for its block; return 1 if that fails."""
    parser = argparse.ArgumentParser(prog="make mint", description=__doc__)
    parser.add_argument("tokens", nargs="?", type=int, default=1, help=f"1 to {_MOST} (default 1)")
    parser.add_argument(
        "--author",
        default=AUTHORS[0].address,
        metavar="WALLET",
        help="the prompt author; one who is not registered gets the default author's prompt "
        f"(default {AUTHORS[0].address})",
    )
    parser.add_argument("--directory", type=Path, help="the world's (var/sandbox or var/demo)")
    chosen = parser.parse_args(arguments)
    if not 1 <= chosen.tokens <= _MOST:
        parser.error(f"from 1 to {_MOST} tokens")
    try:
        chain = World.find(chosen.directory).chain
        tx_hash = chain.mint(_COLLECTOR, chosen.author, chosen.tokens)
        block = chain.wait(tx_hash)["blockNumber"]
    except NoWorldError as error:
        print(error, file=sys.stderr)
        return 1
    except ValueError as error:
        parser.error(str(error))
    ids = [mint.start_token_id for mint in chain.mints(block) if mint.tx_hash == tx_hash]
    if not ids:
        print(f"The mint {tx_hash} was reverted.", file=sys.stderr)
        return 1
    last = ids[0] + chosen.tokens - 1
    names = f"token {last}" if chosen.tokens == 1 else f"tokens {ids[0]} to {last}"
    print(f"Minted {names} of {chosen.author} in block {block}: {tx_hash}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
