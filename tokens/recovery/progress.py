"""How far the chain has been read: the block up to which no mint is missing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from django.db import connection

from glisk.models import SystemState

KEY = "last_processed_block"


@dataclass(frozen=True)
class Progress:
    """`block` is read completely; `range_blocks` is what the provider lets us ask for at once."""

    block: int | None = None
    block_hash: str = ""
    head: int | None = None
    range_blocks: int | None = None


def load_progress() -> Progress:
    row = SystemState.objects.filter(state_key=KEY).values_list("state_value", flat=True).first()
    known = Progress.__dataclass_fields__
    return Progress(**{name: value for name, value in (row or {}).items() if name in known})


def save_progress(progress: Progress) -> None:
    """Store the progress; of two readers at the same time the one further on wins."""
    SystemState.objects.get_or_create(state_key=KEY, defaults={"state_value": {}})
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE system_state SET state_value = %s::jsonb, updated_at = clock_timestamp() "
            "WHERE state_key = %s AND COALESCE((state_value->>'block')::bigint, -1) <= %s",
            [json.dumps(asdict(progress)), KEY, -1 if progress.block is None else progress.block],
        )


def rewind_progress(block: int) -> None:
    """Have everything after `block` read again, e.g. after a reorg."""
    progress = load_progress()
    if progress.block is not None and progress.block > block:
        SystemState.objects.filter(state_key=KEY).update(
            state_value={**asdict(progress), "block": block, "block_hash": ""}
        )
