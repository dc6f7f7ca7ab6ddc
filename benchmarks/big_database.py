"""Fill a fresh database as years of work would: a million tokens with everything around them.

    python -m benchmarks.big_database [--tokens 1000000] [--authors 10000] [--reveals 20000]

On the database of the environment, which must be migrated and hold no token. Everything is made
by the server itself, one INSERT … SELECT a table, while its plain indexes are away. The newest
tokens are under way, one in a hundred failed, all others are revealed; every twenty seconds of
the past one was minted.
"""

from __future__ import annotations

import argparse
import sys
import time

import django

from benchmarks import past
from benchmarks.filling import Filler, without_indexes

TOKENS, AUTHORS, REVEALS = 1_000_000, 10_000, 20_000


def fill(*, tokens: int = TOKENS, authors: int = AUTHORS, reveals: int = REVEALS) -> float:
    """Fill the database; return the seconds. Raises RuntimeError if there are tokens already."""
    from django.db import connection

    from tokens.models import Token
    from tokens.pipeline.spend import close_days

    if Token.objects.exists():
        raise RuntimeError("There are tokens in this database already.")
    started = time.perf_counter()
    with connection.cursor() as cursor:
        for setting in (
            "statement_timeout = 0",
            "synchronous_commit = off",
            "maintenance_work_mem = '256MB'",
            "session_replication_role = replica",  # references are right as they are made
        ):
            cursor.execute(f"SET {setting}")
        filler = Filler(cursor.execute, tokens=tokens, authors=authors, reveals=reveals)
        with without_indexes(cursor, filler.seconds):
            past.make_authors_and_mints(filler)
            past.make_tokens(filler)
            past.make_history(filler)
            past.make_reveals(filler)
            past.make_surroundings(filler)
        cursor.execute("SET session_replication_role = origin")
        cursor.execute("VACUUM (ANALYZE)")
        close_days()
    for table, seconds in filler.seconds.items():
        print(f"{seconds:8.1f} s  {table}")
    return time.perf_counter() - started


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.big_database", description=__doc__)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--authors", type=int, default=AUTHORS)
    parser.add_argument("--reveals", type=int, default=REVEALS)
    chosen = parser.parse_args(arguments)
    django.setup()
    try:
        seconds = fill(tokens=chosen.tokens, authors=chosen.authors, reveals=chosen.reveals)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{chosen.tokens:,} tokens in {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
