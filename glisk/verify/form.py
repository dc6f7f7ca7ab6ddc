"""What a bundle has to look like, before anything in it can be checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from glisk.verify import FORMAT, VERSION

# The parts of a bundle with their texts, whole numbers and times: all that the checks use.
_TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("format", "contract", "author", "minter"),
    "mint": ("transaction", "block_hash"),
    "generation": ("model", "prediction", "prompt_sha256"),
    "image": ("cid", "sha256"),
    "metadata": ("cid", "text"),
    "reveal": ("transaction", "block_hash", "keeper"),
}
_NUMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("version", "chain_id", "token_id"),
    "mint": ("log_index", "block_number"),
    "generation": ("seed",),
    "image": ("size_bytes",),
    "reveal": ("block_number",),
}
_TIMES: Final[Mapping[str, tuple[str, ...]]] = {"mint": ("minted_at",)}
# Checked where the author has told it.
_PROMPT: Final = ("generation.prompt", "generation.prompt_salt")


def fault_of_form(bundle: Any) -> str:
    """Return what is wrong with a bundle's form, or an empty text."""
    if not isinstance(bundle, dict) or bundle.get("format") != FORMAT:
        return f"it is no {FORMAT}"
    if bundle.get("version") != VERSION:
        return f"version {bundle.get('version')} is not known; this program knows {VERSION}"
    for kind, table in ((str, _TEXTS), (int, _NUMBERS), (datetime, _TIMES)):
        for part, names in table.items():
            found = bundle if not part else bundle.get(part)
            for name in names:
                value = found.get(name) if isinstance(found, dict) else None
                if type(_moment(value) if kind is datetime else value) is not kind:
                    return f"{_path(part, name)} is missing, or of another type"
    return ""


def unchecked(bundle: Mapping[str, Any]) -> list[str]:
    """Return the fields that no check reads: who made the bundle may say there what they like."""
    tables = (_TEXTS, _NUMBERS, _TIMES)
    checked = {_path(part, name) for table in tables for part in table for name in table[part]}
    told = [
        _path(part if isinstance(value, dict) else "", name)
        for part, value in bundle.items()
        for name in (value if isinstance(value, dict) else [part])
    ]
    return sorted(set(told) - checked - set(_PROMPT))


def _path(part: str, name: str) -> str:
    return f"{part}.{name}" if part else name


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else None
