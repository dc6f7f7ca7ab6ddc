"""Every page of the admin on a database of years: how long does an operator wait?

A web server as in production, on 1,000,000 tokens (benchmarks/big_database.py); pages are asked
for one after the other by HTTP with a session, each several times.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import psycopg
import requests

from benchmarks.big_database import AUTHORS, REVEALS, TOKENS
from benchmarks.report import Report, machine_facts, rounded
from benchmarks.scene import bare_world
from sandbox.world import BASE_DIR, World

NAME = "admin_pages"
LIMIT_MS = 300.0
_PASSWORD = "only for this measurement"
_CSRF = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
_PROBES = 200
_TABLES = {
    "tokens/token": (
        "?status__exact=failed",
        "?status__exact=revealed",
        "?status__exact=ready",
        "?status__exact=detected",
        "?fallback_used__exact=1",
        "?fallback_used__exact=0",
        "?attention=stalled",
        "?attention=retrying",
        "?attention=failed_today",
        "?attention=held",
        "?attention=unpinned",
        "?attention=gas",
        "?failed=artefact",
    ),
    "tokens/mintevent": ("?source__exact=webhook", "?source__exact=backfill"),
    "tokens/imagegenerationjob": (
        "?status__exact=failed",
        "?status__exact=captured",
        "?status__exact=errored",
        "?service__exact=selfhosted",
    ),
    "tokens/ipfsuploadrecord": ("?status__exact=failed", "?upload_type__exact=image"),
    "reveals/revealbatch": ("?status__exact=open", "?status__exact=reverted"),
    "reveals/revealtransaction": ("?status__exact=reverted", "?status__exact=broadcast"),
    "webhooks/webhookevent": ("?status__exact=failed", "?status__exact=processed"),
    "authors/author": (),
    "glisk/workerheartbeat": (),
    "glisk/systemstate": (),
}

_OBJECTS = (
    (
        "tokens/token/{}/change/",
        "SELECT token_id FROM tokens_s0 WHERE status = 'revealed' ORDER BY 1 DESC LIMIT 1",
    ),
    (
        "tokens/token/{}/change/",
        "SELECT token_id FROM tokens_s0 WHERE status = 'ready' ORDER BY 1 LIMIT 1",
    ),
    ("tokens/token/?q={}", "SELECT reveal_tx_hash FROM tokens_s0 WHERE token_id = 500"),
    ("tokens/token/?q={}", "SELECT image_cid FROM tokens_s0 WHERE token_id = 500"),
    ("tokens/token/?q={}", "SELECT metadata_cid FROM tokens_s0 WHERE token_id = 500"),
    ("tokens/token/?q={}", "SELECT minter_address FROM tokens_s0 WHERE token_id = 500"),
    ("tokens/token/?q={}", "SELECT prompt_author_wallet FROM tokens_s0 LIMIT 1"),
    ("tokens/mintevent/{}/change/", "SELECT max(id) / 2 FROM mint_events"),
    ("tokens/mintevent/?q={}", "SELECT tx_hash FROM mint_events WHERE id = 50"),
    ("tokens/mintevent/?q={}", "SELECT prompt_author FROM mint_events WHERE id = 50"),
    ("tokens/mintevent/?q={}", "SELECT block_number FROM mint_events WHERE id = 50"),
    ("tokens/imagegenerationjob/{}/change/", "SELECT max(id) / 2 FROM image_generation_jobs"),
    ("tokens/imagegenerationjob/?q={}", "SELECT external_id FROM image_generation_jobs LIMIT 1"),
    ("tokens/ipfsuploadrecord/{}/change/", "SELECT max(id) / 2 FROM ipfs_upload_records"),
    ("tokens/ipfsuploadrecord/?q={}", "SELECT computed_cid FROM ipfs_upload_records LIMIT 1"),
    ("reveals/revealbatch/{}/change/", "SELECT max(id) / 2 FROM reveal_batches"),
    ("reveals/revealbatch/?q={}", "SELECT tx_hash FROM reveal_transactions LIMIT 1"),
    ("reveals/revealbatch/?q={}", "SELECT keeper FROM reveal_batches LIMIT 1"),
    ("reveals/revealbatch/?items__token__token_id={}", "SELECT 500"),
    ("reveals/revealtransaction/{}/change/", "SELECT max(id) / 2 FROM reveal_transactions"),
    ("reveals/revealtransaction/?q={}", "SELECT tx_hash FROM reveal_transactions LIMIT 1"),
    ("webhooks/webhookevent/{}/change/", "SELECT max(id) / 2 FROM webhook_events"),
    ("webhooks/webhookevent/?q={}", "SELECT event_id FROM webhook_events LIMIT 1"),
    ("authors/author/{}/change/", "SELECT max(id) / 2 FROM authors"),
    ("authors/author/?q={}", "SELECT wallet_address FROM authors LIMIT 1"),
    ("authors/author/?q={}", "SELECT twitter_handle FROM authors LIMIT 1"),
)


@dataclass(frozen=True)
class Timing:
    """How long a page took, in milliseconds."""

    page: str
    median_ms: float
    slowest_ms: float


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=TOKENS, help="(default 1,000,000)")
    parser.add_argument("--rounds", type=int, default=7, help="requests of a page (default 7)")
    parser.add_argument("--pages", action="store_true", help="print the time of every page")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="leave the database there, and use the one of an earlier run (whose times have aged)",
    )


def run(options: argparse.Namespace) -> Report:
    """Fill a database, sign in, and ask for every page."""
    machine = machine_facts()
    with bare_world(NAME, options.keep) as world:
        _fill(world, options.tokens)
        world.start_apps(migrate=False)
        session = _sign_in(world)
        web = world.ports.url("web")
        timings = []
        for page in _pages(world, options.tokens):
            timing = _time(session, web + page, options.rounds)
            if timing is not None:
                timings.append(timing)
        health = _probe(web + "/health")
        metrics = _time(session, web + "/health/metrics", options.rounds)
    timings.sort(key=lambda timing: -timing.median_ms)
    if options.pages:
        for timing in timings:
            print(f"{timing.median_ms:8.1f} {timing.slowest_ms:8.1f}  {timing.page}")
    worst = timings[0]
    return Report(
        name=NAME,
        figures=rounded(
            {
                "worst_median_ms": worst.median_ms,
                "middle_median_ms": median(timing.median_ms for timing in timings),
                "pages_over_limit": float(sum(t.median_ms > LIMIT_MS for t in timings)),
                "health_p95_ms": health,
                "health_metrics_ms": metrics.median_ms if metrics else 0.0,
            }
        ),
        floor={},
        machine=machine,
        notes=(
            f"{len(timings)} pages, {options.rounds} requests each, {options.tokens:,} tokens; "
            f"worst: {worst.page}",
        ),
    )


def _fill(world: World, tokens: int) -> None:
    """Fill the database, or bring a kept one up to date; raise RuntimeError if its size differs."""
    world.manage("migrate", "--verbosity", "0")
    mark = world.directory / "tokens"
    if mark.exists():
        if mark.read_text() != str(tokens):
            raise RuntimeError(f"{world.directory} holds {mark.read_text()} tokens")
        return
    share = tokens / TOKENS
    subprocess.run(
        [
            sys.executable, "-m", "benchmarks.big_database",
            "--tokens", str(tokens),
            "--authors", str(max(10, round(AUTHORS * share))),
            "--reveals", str(max(10, round(REVEALS * share))),
        ],
        cwd=BASE_DIR,
        env=world.env,
        check=True,
        timeout=900,
        stdout=sys.stderr,
    )  # fmt: skip
    world.manage(
        "createsuperuser",
        "--noinput",
        "--username=operator",
        "--email=operator@example.org",
        DJANGO_SUPERUSER_PASSWORD=_PASSWORD,
    )
    mark.write_text(str(tokens))


def _sign_in(world: World) -> requests.Session:
    session = requests.Session()
    address = world.ports.url("web") + "/admin/login/"
    form = _CSRF.search(session.get(address, timeout=30).text)
    if form is None:
        raise RuntimeError("the login page has no form")
    answer = session.post(
        address,
        {"username": "operator", "password": _PASSWORD, "csrfmiddlewaretoken": form[1]},
        allow_redirects=False,
        timeout=30,
    )
    if answer.status_code != 302:
        raise RuntimeError(f"signing in was answered with {answer.status_code}")
    return session


def _pages(world: World, tokens: int) -> Iterator[str]:
    """Yield every page: lists, their filters and searches, the last page, one of each object."""
    yield from ("/admin/", "/admin/dashboard/", "/admin/authors/author/add/")
    yield "/admin/glisk/systemstate/controls/"
    for table, filters in _TABLES.items():
        yield from (f"/admin/{table}/{query}" for query in ("", "?p=2", "?p=200", *filters))
    with psycopg.connect(world.database_url()) as database:
        for page, query in _OBJECTS:
            row = database.execute(query.encode()).fetchone()
            if row is None:
                raise RuntimeError(f"nothing found for {page}")
            yield "/admin/" + page.format(row[0])
    for table in ("token", "mintevent", "imagegenerationjob", "ipfsuploadrecord"):
        yield f"/admin/tokens/{table}/?q={tokens // 2}"
    yield f"/admin/reveals/revealbatch/?q={tokens // 2}"


def _time(session: requests.Session, address: str, rounds: int) -> Timing | None:
    """Ask once unmeasured, then `rounds` times; None for a list that is not so long.

    Raises RuntimeError if the page does not open.
    """
    taken = []
    for number in range(rounds + 1):
        started = time.perf_counter()
        answer = session.get(address, allow_redirects=False, timeout=60)
        if answer.status_code == 302 and "?p=" in address:
            return None
        if answer.status_code != 200:
            raise RuntimeError(f"{address} was answered with {answer.status_code}")
        if number:
            taken.append(1000 * (time.perf_counter() - started))
    return Timing(address.partition("/admin")[2] or address, median(taken), max(taken))


def _probe(address: str) -> float:
    """Return the 95th percentile of a probe's time in milliseconds."""
    taken = []
    for _ in range(_PROBES):
        started = time.perf_counter()
        requests.get(address, timeout=10).raise_for_status()
        taken.append(1000 * (time.perf_counter() - started))
    return quantiles(taken, n=20)[18]
