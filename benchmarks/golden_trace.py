"""What becomes of 24 tokens, without times and ids: the same before and after a change.

    python -m benchmarks.golden_trace                    compare with benchmarks/golden_trace.json
    python -m benchmarks.golden_trace --compare FILE     compare with another trace
    python -m benchmarks.golden_trace --write FILE       write the trace of this checkout

The tokens run through a local world, one scene after the other: lone mints, a batch, refused
prompts, an author whom nobody registered, and a fault of a vendor each. Read by HTTP, from the
tables and from the chain, so that names inside the program do not matter. Status 1: they differ.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import requests

from benchmarks.scene import Scene, scene
from sandbox.accounts import AUTHORS, STRANGER
from sandbox.world import WorldOptions

STORED = Path(__file__).with_suffix(".json")
VENDORS = ("replicate", "pinata", "gateway")
RIDGES, BLOOM, REFUSED = (author.address for author in AUTHORS)
PROMPTS = {
    RIDGES: "A lighthouse of paper above a quiet sea",
    BLOOM: "A botanical garden at midnight under many stars",
    REFUSED: "A nude figure in the manner of an old master",
}
_QUIET_SECONDS = 3.0
# How often somebody asks depends on the time that passes meanwhile.
_ASKED_AGAIN_AND_AGAIN = re.compile(r"^replicate GET /v1/")
_SAME_FOR_ALL = (
    (re.compile(r"/delivery/\S+"), "/delivery/<file>"),
    (re.compile(r"\b(Qm[1-9A-HJ-NP-Za-km-z]{44}|b[a-z2-7]{58})\b"), "<cid>"),
    (re.compile(r"0x[0-9a-f]{64}"), "<hash>"),
    (re.compile(r"\b(?=\w*\d)[0-9a-z]{26}\b"), "<prediction>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<host>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<sha256>"),
)


class Mints(NamedTuple):
    """One scene: mints (author, quantity) in one block, and what goes wrong meanwhile."""

    name: str
    mints: tuple[tuple[str, int], ...]
    faults: dict[str, dict[str, Any]] = {}


def _planned(kind: str, scope: str, times: int = 1) -> dict[str, Any]:
    return {"planned": [{"kind": kind, "scope": scope, "times": times}]}


_CREATION, _PIN = "POST /v1/models", "POST /pinning"
_LOST_REPLY = {"replicate": _planned("drop_after", _CREATION)}
SCENES = (
    Mints("a lone mint", ((RIDGES, 1),)),
    Mints("several tokens of one mint", ((BLOOM, 5),)),
    Mints("a refused prompt", ((REFUSED, 1),)),
    Mints("an author whom nobody registered", ((STRANGER.address, 2),)),
    Mints(
        "a creation that fails once",
        ((RIDGES, 1),),
        {"replicate": _planned("server_error", _CREATION)},
    ),
    Mints("a creation whose reply is lost", ((RIDGES, 1),), _LOST_REPLY),
    Mints("a callback that is lost", ((BLOOM, 1),), {"replicate": {"webhook_lost_rate": 1.0}}),
    # Callbacks are still lost.
    Mints("a creation whose reply and callback are lost", ((RIDGES, 1),), _LOST_REPLY),
    Mints(
        "pins that fail once",
        ((BLOOM, 1),),
        {
            "replicate": {"webhook_lost_rate": 0.0},
            "pinata": _planned("server_error", _PIN, times=2),
        },
    ),
    Mints("several mints in one block", ((RIDGES, 3), (BLOOM, 4), (REFUSED, 1), (RIDGES, 2))),
)


def record() -> dict[str, Any]:
    """Run all scenes in a world of their own and return what became of their tokens."""
    options = WorldOptions(
        block_time=1.0,
        generation_seconds="0.3",
        pin_seconds="0.1",
        image_size=64,
        # Longer than any scene: which tokens share a reveal is not decided by the machine's load.
        env={"BATCH_REVEAL_WAIT_SECONDS": "90"},
    )
    with scene("golden_trace", options) as place:
        for wallet, prompt in PROMPTS.items():
            place.statements.session.execute(
                "INSERT INTO authors (wallet_address, prompt_text) VALUES (%s, %s)",
                [wallet, prompt],
            )
        starts = [_play(place, each) for each in SCENES]
        return _trace(place, starts, _calls_once_quiet(place))


# -- acting -------------------------------------------------------------------------------


def _play(place: Scene, mints: Mints) -> tuple[float, int]:
    """Mint, and wait until all is revealed; return when this began and the first token's id."""
    began, chain = time.time(), place.world.chain
    first = chain.next_token_id()
    for vendor, faults in mints.faults.items():
        place.world.control(vendor, "faults", faults)
    chain.set_block_time(0)
    for number, (author, quantity) in enumerate(mints.mints):
        chain.mint(1 + number % 3, author, quantity)
    place.mine(block_seconds=1)
    place.wait_for_state("revealed", set(range(first, chain.next_token_id())))
    print(f"  {mints.name}: {time.time() - began:.1f} s", file=sys.stderr, flush=True)
    return began, first


def _calls_once_quiet(place: Scene) -> dict[str, list[dict[str, Any]]]:
    """Return the vendors' call logs when nobody has called them for a while."""
    while True:
        calls = {vendor: place.calls(vendor) for vendor in VENDORS}
        newest = max(call["answered_at"] for log in calls.values() for call in log)
        if (left := newest + _QUIET_SECONDS - time.time()) <= 0:
            return calls
        time.sleep(left)


# -- writing down -------------------------------------------------------------------------


def _trace(
    place: Scene, starts: list[tuple[float, int]], calls: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    token_of = _subjects(place)
    by_token: defaultdict[int, Counter[str]] = defaultdict(Counter)
    by_scene = [Counter[str]() for _ in starts]
    for vendor, log in calls.items():
        for call in log:
            what = f"{vendor} {call['method']} {plain(call['path'])} {call['status']}"
            if token_id := token_of.get(call["subject"]):
                by_token[token_id][what] += 1
            else:
                by_scene[sum(at <= call["received_at"] for at, _ in starts) - 1][what] += 1
    scenes = []
    ends = [*(first for _, first in starts[1:]), place.world.chain.next_token_id()]
    for mints, counts, (_, first), end in zip(SCENES, by_scene, starts, ends, strict=True):
        ids = range(first, end)
        scenes.append(
            {
                "name": mints.name,
                "tokens": {n: _token(place, n) | {"calls": _counted(by_token[n])} for n in ids},
                "reveals": [
                    _line(f"nonce {row['nonce']}", row["status"], f"tokens {row['token_ids']}")
                    for row in _table(place, "reveal_transactions")
                    if row["token_ids"][0] in ids
                ],
                "calls without a token": _counted(counts),
            }
        )
    bills = {vendor: place.world.control(vendor, "bill") for vendor in VENDORS}
    return {
        "scenes": scenes,
        "webhooks": [
            _line(row["status"], *(f"{log['verdict']} {log['tokens']}" for log in row["verdicts"]))
            for row in _table(place, "webhook_events")
        ],
        "bills": {
            vendor: {name: bill[name] for name in ("count", "total_usd", "duplicates")}
            for vendor, bill in bills.items()
        },
    }


def _token(place: Scene, token_id: int) -> dict[str, Any]:
    of_token = f"WHERE token_id = {token_id}"
    (row,) = place.statements.rows(f"SELECT * FROM tokens_s0 {of_token}")
    chain = place.world.chain
    uri = chain.token_uri(token_id)
    return {
        "on chain": {
            "author": chain.token_prompt_author(token_id),
            "owner": chain.owner_of(token_id),
            "revealed": chain.is_revealed(token_id),
            "uri": uri.replace(row["metadata_cid"], f"<metadata cid of {len(uri) - 7}>"),
            "metadata": _metadata(place, uri, row["image_cid"]),
        },
        "prompt": row["prompt"],
        "fallback used": row["fallback_used"],
        "timeline": [
            _line(
                f"{move['from_status'] or 'new'} > {move['to_status']}",
                f"attempt {move['attempt']}",
                move["reason"],
            )
            for move in _table(place, "token_transitions", of_token)
        ],
        "generations": [
            _line(
                f"attempt {job['attempt_number']}",
                job["status"],
                f"{job['cost_usd']} USD",
                job["prompt"],
                job["error_class"],
            )
            for job in _table(place, "image_generation_jobs", of_token)
        ],
        "uploads": sorted(
            _line(f"{file['upload_type']} {file['attempt_number']}", file["status"], error)
            for file in _table(place, "ipfs_upload_records", of_token)
            for error in [file["error_class"]]
        ),
    }


def _metadata(place: Scene, uri: str, image_cid: str) -> Any:
    """Return the document that the gateway has for a token, its own image by a word."""
    url = f"{place.world.ports.url('gateway')}/ipfs/{uri.removeprefix('ipfs://')}"
    found = requests.get(url, timeout=10).text
    return json.loads(plain(found.replace(image_cid, f"<image cid of {len(image_cid)}>")))


def _subjects(place: Scene) -> dict[str, int]:
    """Return which token a prediction or a CID of the vendors' logs belongs to."""
    query = """
        SELECT external_id AS subject, token_id FROM image_generation_jobs
        WHERE external_id IS NOT NULL
        UNION SELECT image_cid, token_id FROM tokens_s0
        UNION SELECT metadata_cid, token_id FROM tokens_s0
    """
    return {row["subject"]: row["token_id"] for row in place.statements.rows(query)}


def _table(place: Scene, name: str, where: str = "") -> list[dict[str, Any]]:
    return place.statements.rows(f"SELECT * FROM {name} {where} ORDER BY id")


def _counted(calls: Counter[str]) -> dict[str, int | str]:
    return {
        call: "some" if _ASKED_AGAIN_AND_AGAIN.match(call) else number
        for call, number in sorted(calls.items())
    }


def _line(*parts: str) -> str:
    return plain(" | ".join(part for part in parts if part))


def plain(text: str) -> str:
    """Return the text with a word in the place of each id, hash, CID and port."""
    for pattern, word in _SAME_FOR_ALL:
        text = pattern.sub(word, text)
    return text


def as_text(trace: dict[str, Any]) -> str:
    return json.dumps(trace, indent=1, ensure_ascii=False, default=str) + "\n"


def difference(before: str, after: str, *, name: str = "stored") -> str:
    """Return what differs as a unified diff, empty if nothing does."""
    return "".join(
        difflib.unified_diff(
            before.splitlines(keepends=True), after.splitlines(keepends=True), name, "now", n=8
        )
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.golden_trace",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--compare", type=Path, metavar="FILE", default=STORED)
    what.add_argument("--write", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    text = as_text(record())
    if options.write:
        options.write.write_text(text)
        return 0
    found = difference(options.compare.read_text(), text, name=options.compare.name)
    print(found or "The same.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
