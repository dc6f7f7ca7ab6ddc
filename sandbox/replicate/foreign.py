"""Predictions of somebody else on the same account: listed and shown, made up when asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sandbox.replicate.predictions import ID_LENGTH, Prediction

_RUN_SECONDS = 1.0
_PREFIX = "x"


def foreign_predictions(now: float, per_minute: int) -> Iterator[Prediction]:
    """Walk through them, the newest first; the past has no beginning."""
    gap_ms = 60_000 // per_minute
    created_ms = int(now * 1000) // gap_ms * gap_ms
    while True:
        created_ms -= gap_ms
        yield _made_at(created_ms)


def foreign_prediction(prediction_id: str) -> Prediction | None:
    """Return the one with this id; None if it is none of these."""
    if not re.fullmatch(rf"{_PREFIX}\d{{{ID_LENGTH - 1}}}", prediction_id):
        return None
    return _made_at(int(prediction_id[1:]))


def _made_at(created_ms: int) -> Prediction:
    created_at = created_ms / 1000
    return Prediction(
        id=f"{_PREFIX}{created_ms:0{ID_LENGTH - 1}d}",
        model="somebody/else",
        version="hidden",
        input={"prompt": "a picture of somebody else", "seed": created_ms % 2**31},
        created_at=created_at,
        deadline_at=created_at + _RUN_SECONDS,
        start_seconds=0.0,
        run_seconds=_RUN_SECONDS,
        seed=0,
        outcome="succeeded",
        unsafe_images=[],
        garbage="",
        file_token="",
        status="succeeded",
        started_at=created_at,
        completed_at=created_at + _RUN_SECONDS,
    )
