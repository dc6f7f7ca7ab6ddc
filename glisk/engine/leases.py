"""How apps give back leases: the engine knows when, only they know which rows."""

from collections.abc import Callable

import structlog

logger = structlog.get_logger(__name__)

_releases: list[Callable[[str], int]] = []
_rescues: list[Callable[[], int]] = []
_purges: list[Callable[[], int]] = []


def register_lease_release(release: Callable[[str], int]) -> None:
    """Have `release(prefix)` called for owners that are dead; it returns how many it released.

    Called by the supervisor after a crash and at its end with its `owner_prefix()`.
    """
    if release not in _releases:
        _releases.append(release)


def register_rescue(rescue: Callable[[], int]) -> None:
    """Have `rescue()` called at the start and every 20 seconds; it frees leases that ran out."""
    if rescue not in _rescues:
        _rescues.append(rescue)


def register_purge(purge: Callable[[], int]) -> None:
    """Have `purge()` called hourly; it deletes rows that nobody needs any more."""
    if purge not in _purges:
        _purges.append(purge)


def release_leases(prefix: str) -> int:
    """Release the leases of all owners that begin with `prefix`; return how many."""
    return sum(release(prefix) for release in _releases)


def rescue_leases() -> int:
    return _sum_guarded("rescue", _rescues)


def purge_rows() -> int:
    return _sum_guarded("purge", _purges)


def _sum_guarded(kind: str, functions: list[Callable[[], int]]) -> int:
    """Call all; one that fails must not keep the others from their work."""
    count = 0
    for function in functions:
        try:
            count += function()
        except Exception:
            logger.exception("housekeeping_failed", kind=kind, function=function.__qualname__)
    return count
