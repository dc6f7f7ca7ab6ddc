"""How long a row waits before its next attempt."""

from __future__ import annotations

import random


def backoff_seconds(
    attempt: int,
    *,
    base: float = 1.0,
    factor: float = 2.0,
    cap: float = 300.0,
    jitter: float = 0.2,
    at_least: float | None = None,
    rng: random.Random | None = None,
) -> float:
    """Return the seconds to wait after the given failed attempt (the first is 1).

    Grows as base · factor^(attempt-1) up to `cap`, then is shortened by up to `jitter` of
    itself, so that rows which failed together do not come back together and `cap` stays the
    longest wait. `at_least` takes a vendor's Retry-After: the wait is never shorter than that
    (jitter is then added on top) even if it exceeds `cap`.

    Raises ValueError for an attempt below 1 or a jitter outside 0…1.
    """
    if attempt < 1:
        raise ValueError(f"attempt counts from 1, not {attempt}")
    if not 0 <= jitter <= 1:
        raise ValueError(f"jitter is a share between 0 and 1, not {jitter}")
    draw = (rng.random() if rng is not None else random.random()) * jitter
    try:
        grown = min(cap, base * factor ** (attempt - 1))
    except OverflowError:
        grown = cap
    wait = grown * (1 - draw)
    if at_least is not None and wait < at_least:
        # Spread upwards from what the vendor asked for, but by no more than one base step.
        wait = at_least + base * draw
    return wait
