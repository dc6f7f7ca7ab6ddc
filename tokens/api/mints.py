"""A mint as the buyer follows it: its tokens, their places in line, how long it may take."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import connection
from django.utils import timezone

from glisk.api.short_memory import ShortMemory
from glisk.engine.heartbeat import ALIVE_SECONDS
from tokens.api.serializers import public_error
from tokens.pipeline.image_vendors import WORKERS, places_of
from tokens.states import ACTIVE, TokenStatus

SAMPLE: Final = 100  # the newest reveals
LONGEST_LINE: Final = 10_000  # counted no further
_ROWS: Final = """
    SELECT m.tx_hash, m.block_number, m.block_timestamp, m.minter, m.prompt_author,
           t.token_id, t.status, t.status_changed_at, t.held_at IS NOT NULL, t.image_cid,
           t.metadata_cid, t.reveal_tx_hash, t.error_class
    FROM mint_events m JOIN tokens_s0 t ON t.mint_event_id = m.id
    WHERE m.tx_hash = ANY (%s)
    ORDER BY m.log_index, t.token_id
"""
# One walk along the line, whatever the number of mints that are asked for.
_LINE: Final = """
    SELECT token_id, place FROM (
        SELECT token_id, row_number() OVER (ORDER BY mint_timestamp, token_id) AS place
        FROM tokens_s0 WHERE status = ANY (%s)
        ORDER BY mint_timestamp, token_id LIMIT %s
    ) line
    WHERE token_id = ANY (%s)
"""
_TO_REVEAL: Final = """
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
_NOW: Final = f"""
    SELECT EXISTS (
        SELECT FROM system_state WHERE state_value ->> 'state' = 'open'
          AND state_key = ANY (ARRAY['breaker:replicate', 'breaker:pinata', 'breaker:chain',
                                     'breaker:gateway'])
    ), ({WORKERS})
"""  # noqa: S608 - a constant


def mint_documents(tx_hashes: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return what the API tells of each known mint transaction, in two or three queries.

    A transaction may hold several mints; a buyer follows all of their tokens as one.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ROWS, [list(tx_hashes)])
        rows = cursor.fetchall()
    line = _line([row[5] for row in rows if row[6] in ACTIVE])
    documents: dict[str, dict[str, Any]] = {}
    for tx_hash, block, minted_at, minter, author, token_id, status, since, held, *facts in rows:
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
        position = line.get(token_id)
        image_cid, metadata_cid, reveal_tx_hash, error_class = facts
        document["tokens"].append(
            {
                "token_id": token_id,
                "status": status,
                "position": position,
                "estimated_seconds": None if held else _estimate(status, since, position),
                "image_cid": image_cid,
                "metadata_cid": metadata_cid,
                "reveal_tx_hash": reveal_tx_hash,
                "error": public_error(status, error_class),
            }
        )
    for document in documents.values():
        states = [token["status"] for token in document["tokens"]]
        document["total"] = len(states)
        document["revealed"] = states.count(TokenStatus.REVEALED)
        document["done"] = document["revealed"] == len(states)
    return documents


def _line(token_ids: list[int]) -> dict[int, int]:
    """Return the places of tokens among all that are not revealed yet, oldest mint first."""
    if not token_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_LINE, [[*ACTIVE], LONGEST_LINE, token_ids])
        return dict(cursor.fetchall())


class Pace(NamedTuple):
    """Median seconds from the entry into a state to the reveal, and of making an image.

    `places` is how many images are made at once; `stopped`: a vendor or the chain is out.
    """

    to_reveal: dict[str, float]
    generation: float
    places: int
    stopped: bool


_pace: ShortMemory[Pace] = ShortMemory(seconds=10, grace=20)


def _estimate(status: str, since: datetime, position: int | None) -> int | None:
    """Return the estimated seconds to the reveal of a token that is in a state since then.

    0 if it is revealed, else at least 1; None where nothing can be said: no token was revealed
    yet, this one failed, or something stands still.
    """
    if status == TokenStatus.REVEALED:
        return 0
    pace = _pace.get("pace", measure_pace)
    if pace.stopped or status not in pace.to_reveal:
        return None
    left = pace.to_reveal[status] - (timezone.now() - since).total_seconds()
    if status == TokenStatus.DETECTED and position is not None:
        left += max(0, position - pace.places) / pace.places * pace.generation
    return max(1, round(left))


def measure_pace() -> Pace:
    """Measure the pace of the newest reveals: two queries."""
    with connection.cursor() as cursor:
        cursor.execute(_TO_REVEAL, [SAMPLE])
        to_reveal = {status: max(0.0, float(seconds)) for status, seconds in cursor.fetchall()}
        cursor.execute(_NOW, {"alive_seconds": ALIVE_SECONDS})
        stopped, workers = cursor.fetchone()
    generation = to_reveal.get("generating", 0.0) - to_reveal.get("uploading", 0.0)
    return Pace(to_reveal, max(0.0, generation), places_of(workers), stopped)
