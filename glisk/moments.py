"""Times that are kept as text."""

from datetime import UTC, datetime


def read_moment(text: object) -> datetime | None:
    """Read a stored time (ISO 8601; without a zone it is UTC); None for anything else."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
