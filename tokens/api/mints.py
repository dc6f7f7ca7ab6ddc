"""A mint as the buyer follows it: its tokens, their places in line, how long it may take."""

from collections.abc import Collection
from typing import Any, Final, NamedTuple

from django.db import connection
from django.utils import timezone

from glisk.api.short_memory import ShortMemory
from glisk.engine.heartbeat import ALIVE_SECONDS
from tokens.api.serializers import public_error
from tokens.models import Token
from tokens.pipeline.image_vendors import WORKERS, places_of
from tokens.states import ACTIVE, TokenStatus

SAMPLE: Final = 100  # the newest reveals
LONGEST_LINE: Final = 10_000  # counted no further
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
    found = Token.objects.filter(mint_event__tx_hash__in=tx_hashes).select_related("mint_event")
    tokens = list(found.without_texts().order_by("mint_event__log_index", "token_id"))
    line = _line([token.pk for token in tokens if token.status in ACTIVE])
    documents: dict[str, dict[str, Any]] = {}
    for token in tokens:
        mint = token.mint_event
        assert mint is not None
        document = documents.setdefault(
            mint.tx_hash,
            {
                "tx_hash": mint.tx_hash,
                "block_number": mint.block_number,
                "minted_at": mint.block_timestamp,
                "minter_address": mint.minter,
                "author_address": mint.prompt_author,
                "tokens": [],
            },
        )
        position = line.get(token.pk)
        document["tokens"].append(
            {
                "token_id": token.pk,
                "status": token.status,
                "position": position,
                "estimated_seconds": _estimate(token, position),
                "image_cid": token.image_cid,
                "metadata_cid": token.metadata_cid,
                "reveal_tx_hash": token.reveal_tx_hash,
                "error": public_error(token),
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


def _estimate(token: Token, position: int | None) -> int | None:
    """Return the estimated seconds to a token's reveal, at least 1; 0 if it is revealed.

    None where nothing can be said: no token was revealed yet, this one is held or failed, or
    something stands still.
    """
    if token.status == TokenStatus.REVEALED:
        return 0
    pace = _pace.get("pace", measure_pace)
    if token.held_at or pace.stopped or token.status not in pace.to_reveal:
        return None
    left = pace.to_reveal[token.status]
    left -= (timezone.now() - token.status_changed_at).total_seconds()
    if token.status == TokenStatus.DETECTED and position is not None:
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
