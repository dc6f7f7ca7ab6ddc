"""What an operator does about a token's error class: one sentence.

The runbook says the same at more length; a test holds the classes of both together.
"""

from __future__ import annotations

from typing import Final

# What the same classes mean while a ready token waits for its reveal: nothing failed.
_AT_THE_GATE: Final[dict[str, str]] = {
    "artefact": "Open its files at the gateway (links on its page). Once the right bytes are there "
    "it goes by itself, within two minutes; a second gateway in PINATA_GATEWAY helps at once.",
    "transient": "Nothing, if gateway and node come back: it goes by itself, within two minutes.",
}

_CLASSES: Final[dict[str, str]] = {
    "content_policy": (
        "A mint keeps the prompt it was made with, so only another FALLBACK_CENSORED_PROMPT helps: "
        "set it, restart the workers, then retry. Later mints need a new prompt of the author."
    ),
    "validation": "Correct the author's prompt (1 to 1,000 characters), then retry.",
    "transient": "The vendor failed it three times. It is tried again by itself, later and later: "
    "its page says when. After that, or to hurry it, retry it.",
    "artefact": "What came was no image, three times: retry, or change the prompt.",
    "no_image": "The model ended well without an image: look at the prediction and at "
    "REPLICATE_MODEL_VERSION, then retry.",
    "cid_mismatch": "Pinata stored other bytes. Compare the pinned file, then retry.",
    "author_differs": "Recheck it; if it stays, compare the contract with the mint.",
    "already_revealed": "It cannot be changed. Find out who else holds KEEPER_ROLE.",
    "would_revert": "The reason is the contract's. Recheck it, then retry.",
    "stalled": "It killed its worker again and again: read the workers' logs, then retry.",
    "storage": "The image's bytes are gone: regenerate it.",
    "operator": "Somebody gave it up; the reason stands in the timeline. A retry lets it go on.",
    "unexpected": "A fault of this program: the worker's log has the traceback. Then retry.",
    "unconfirmed": "Nothing to do: its mint waits for confirmations.",
    "not_minted": "The node lags or a reorg took the mint: compare it with an explorer.",
    "reorged": "The node lags or a reorg took the mint: compare it with an explorer.",
}


def advice_for_class(error_class: str) -> str:
    """Return what to do about a token's error class, or an empty text."""
    return _CLASSES.get(error_class, "")


def advice_for_waiting(error_class: str) -> str:
    """Return what to do about a token that the gate turned away, and that is tried again."""
    return _AT_THE_GATE.get(error_class, "") or advice_for_class(error_class)


def known_classes() -> list[str]:
    return sorted(_CLASSES)
