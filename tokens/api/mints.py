"""A mint as the buyer follows it: its tokens, their places in line, how long it may take."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.utils import timezone

from glisk.api.short_memory import ShortMemory
from glisk.engine.heartbeat import ALIVE_SECONDS
from tokens.api.serializers import public_error
from tokens.pipeline.image_vendors import WORKERS, places_of
from tokens.states import ACTIVE, TokenStatus

_SQL = """
    SELECT m.tx_hash, m.block_number, m.block_timestamp, m.minter, m.prompt_author,
           t.token_id, t.status, t.status_changed_at, t.image_cid, t.metadata_cid,
           t.reveal_tx_hash, t.error_class, t.held_at IS NOT NULL
    FROM mint_events m JOIN tokens_s0 t ON t.mint_event_id = m.id
    WHERE m.tx_hash = ANY (%s)
    ORDER BY m.tx_hash, m.log_index, t.token_id
"""
# One walk along the line, whatever the number of mints that are asked for.
_LINE_SQL = """
    SELECT token_id, place FROM (
        SELECT token_id, row_number() OVER (ORDER BY mint_timestamp, token_id) AS place
        FROM tokens_s0 WHERE status = ANY (%s)
        ORDER BY mint_timestamp, token_id LIMIT %s
    ) line
    WHERE token_id = ANY (%s)
"""
SAMPLE: Final = 100  # the newest reveals
LONGEST_LINE: Final = 10_000  # counted no further
_OUT: Final = """
    SELECT substr(state_key, 9) FROM system_state
    WHERE starts_with(state_key, 'breaker:') AND state_value ->> 'state' = 'open'
"""
_STOPS: Final = {
    TokenStatus.DETECTED: ("replicate", "pinata", "chain", "gateway"),
    TokenStatus.GENERATING: ("replicate", "pinata", "chain", "gateway"),
    TokenStatus.UPLOADING: ("pinata", "chain", "gateway"),
    TokenStatus.READY: ("chain", "gateway"),
}


def mint_documents(tx_hashes: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return what the API tells of each known mint transaction, in two or three queries.

    A transaction may hold several mints; a buyer follows all of their tokens as one.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SQL, [list(tx_hashes)])
        rows = cursor.fetchall()
    line = _line([row[5] for row in rows if row[6] in ACTIVE])
    now = timezone.now()
    documents: dict[str, dict[str, Any]] = {}
    for tx_hash, block, minted_at, minter, author, *facts in rows:
        document = documents.setdefault(
            tx_hash,
            {
                "tx_hash": tx_hash,
                "block_number": block,
                "minted_at": minted_at,
                "minter_address": minter,
                "author_address": author,
                "tokens": [],
            },
        )
        document["tokens"].append(_token(facts, line, now))
    for document in documents.values():
        tokens = document["tokens"]
        document["total"] = len(tokens)
        document["revealed"] = sum(token["status"] == TokenStatus.REVEALED for token in tokens)
        document["done"] = document["revealed"] == document["total"]
    return documents


def _line(token_ids: list[int]) -> dict[int, int]:
    """Return the places of tokens among all that are not revealed yet, oldest mint first."""
    if not token_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_LINE_SQL, [[*ACTIVE], LONGEST_LINE, token_ids])
        return dict(cursor.fetchall())


def _token(facts: list[Any], line: dict[int, int], now: datetime) -> dict[str, Any]:
    token_id, status, since, image_cid, metadata_cid, tx_hash, error_class, held = facts
    position = line.get(token_id)
    estimated = (
        None if held else pace().seconds(status=status, since=since, now=now, position=position)
    )
    return {
        "token_id": token_id,
        "status": status,
        "position": position,
        "estimated_seconds": estimated,
        "image_cid": image_cid,
        "metadata_cid": metadata_cid,
        "reveal_tx_hash": tx_hash,
        "error": public_error(status, error_class),
    }


@dataclass(frozen=True)
class Pace:
    """Median seconds from the entry into a state to the reveal, and what stands still now.

    `generation` is the median time that an image takes, `places` how many are made at once.
    """

    to_reveal: dict[str, float] = field(default_factory=dict)
    generation: float = 0.0
    places: int = 1
    stopped: frozenset[str] = frozenset()

    def seconds(
        self, *, status: str, since: datetime, now: datetime, position: int | None
    ) -> int | None:
        """Return the estimated seconds to the reveal, at least 1; 0 if it is revealed.

        None where nothing can be said: no token was revealed yet, this one failed, or a vendor
        that it needs is out.
        """
        if status == TokenStatus.REVEALED:
            return 0
        if status not in self.to_reveal or not self.stopped.isdisjoint(_STOPS[TokenStatus(status)]):
            return None
        left = self.to_reveal[status] - (now - since).total_seconds()
        if status == TokenStatus.DETECTED and position is not None:
            left += max(0, position - self.places) / self.places * self.generation
        return max(1, round(left))


_pace: ShortMemory[Pace] = ShortMemory(seconds=10, grace=20)


def pace() -> Pace:
    """Return the pace of the newest reveals; ten seconds old, more only while it is measured."""
    return _pace.get("pace", measure_pace)


def measure_pace() -> Pace:
    """Measure it: two queries."""
    sql = """
        WITH newest AS (
            SELECT token_id, revealed_at FROM tokens_s0
            WHERE status = 'revealed' AND revealed_at IS NOT NULL AND adopted_uri IS NULL
            ORDER BY token_id DESC LIMIT %s
        ), entered AS (
            SELECT n.token_id, n.revealed_at, t.to_status, max(t.created_at) AS at
            FROM newest n JOIN token_transitions t USING (token_id)
            WHERE t.from_status <> t.to_status
            GROUP BY 1, 2, 3
        )
        SELECT to_status,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM revealed_at - at))
        FROM entered WHERE to_status <> 'revealed' GROUP BY to_status
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [SAMPLE])
        to_reveal = {status: max(0.0, float(seconds)) for status, seconds in cursor.fetchall()}
        cursor.execute(f"SELECT ARRAY({_OUT}), ({WORKERS})", {"alive_seconds": ALIVE_SECONDS})
        stopped, workers = cursor.fetchone()
    generation = to_reveal.get("generating", 0.0) - to_reveal.get("uploading", 0.0)
    return Pace(to_reveal, max(0.0, generation), places_of(workers), frozenset(stopped))
