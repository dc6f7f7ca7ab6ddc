"""Decide how predictions end: by words in the prompt, else by rates and seed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox.http import FaultPlan, Faults

NSFW_ERROR = (
    "All generated images contained NSFW content. Try running it again with a different prompt."
)
FLAGGED_ERROR = (
    "The input or output was flagged as sensitive. Please try again with different inputs. (E005)"
)
CRASHED_ERROR = "Director: unexpected error handling prediction (E6716)"

GARBAGE_KINDS = ("html", "truncated", "black", "empty")
# A prompt that has one of these as a whole word gets that outcome.
WORDS = {
    "flagged": ("e005", "gore"),
    "crashed": ("crash-the-model",),
    "stuck": ("never-ending",),
    "nsfw": ("nsfw", "nude"),
}

# How a model may hold its image out; each is a function of its URL.
OUTPUT_SHAPES: dict[str, Callable[[str], Any]] = {
    "list": lambda url: [url],
    "string": lambda url: url,
    "nested": lambda url: [[url]],
    "object": lambda url: {"seed": 7, "image": url},
    "images": lambda url: {"images": [url], "has_nsfw_concepts": [False]},
    "objects": lambda url: [{"url": url, "width": 1024}],
    "deep": lambda url: {"result": {"data": [{"files": [{"href": url}]}]}},
    "empty": lambda url: [],
    "null": lambda url: None,
    "words": lambda url: {"image": None, "message": "done"},
}


@dataclass(frozen=True, kw_only=True)
class ReplicateFaults(Faults):
    """Set how Replicate misbehaves.

    A prompt with the word "garbage-html" (-truncated, -black, -empty) gets such a file.
    `account_refusal` is empty, or insufficient_credit, spend_limit or invalid_version.
    `creations_per_minute` is the rate limit, 0 is none (the vendor's own is 600); it counts in
    windows of a minute, or, with `creations_burst`, by a bucket of so many calls. `list_omits` are
    the fields that the items of a list lack; which ones is not documented, so try more.
    `refusal_text` replaces the words of flagged predictions; with `refusal_in_logs` these end well,
    without an image, and only their logs say why. `output_shape` is one of OUTPUT_SHAPES;
    `output_inline` gives data URIs in place of addresses.
    `list_refusal` is the status that every list is refused with, 0 is none; `list_ignores_bounds`
    takes no notice of `created_after` and `created_before`. `foreign_per_minute` predictions of
    somebody else on the same account are listed for every minute of the past. `data_removed`
    deletes the data of every ended prediction at once, instead of after the retention time.
    """

    nsfw_rate: float = 0.0
    flagged_rate: float = 0.0
    crash_rate: float = 0.0
    garbage_rate: float = 0.0
    account_refusal: str = ""
    creations_per_minute: int = 0
    creations_burst: int = 0
    list_omits: str = "logs,deadline,deployment"
    refusal_text: str = ""
    refusal_in_logs: bool = False
    output_shape: str = "list"
    output_inline: bool = False
    list_refusal: int = 0
    list_ignores_bounds: bool = False
    foreign_per_minute: int = 0
    data_removed: bool = False
    webhook_lost_rate: float = 0.0


def has_word(prompt: str, *words: str) -> bool:
    """Say whether a prompt holds one of the words as a whole word."""
    either = "|".join(map(re.escape, words))
    return re.search(rf"(?<![\w-])(?:{either})(?![\w-])", prompt, re.IGNORECASE) is not None


def garbage_in(prompt: str) -> str:
    """Return the kind of garbage that a prompt asks for, or an empty text."""
    return next((kind for kind in GARBAGE_KINDS if has_word(prompt, f"garbage-{kind}")), "")


def decide(plan: FaultPlan[ReplicateFaults], prompt: str) -> tuple[str, str]:
    """Draw the outcome of a new prediction, and the kind of garbage that its file is."""
    faults = plan.faults
    rates = {
        "flagged": faults.flagged_rate,
        "crashed": faults.crash_rate,
        "stuck": 0.0,
        "nsfw": faults.nsfw_rate,
    }
    for outcome, rate in rates.items():
        if has_word(prompt, *WORDS[outcome]) or plan.chance(outcome, rate):
            return outcome, ""
    garbage = garbage_in(prompt)
    if not garbage and plan.chance("garbage", faults.garbage_rate):
        garbage = plan.stream("garbage-kind").choice(GARBAGE_KINDS)
    return "succeeded", garbage


def end_of(outcome: str, seed: int, faults: ReplicateFaults) -> tuple[str | None, str]:
    """Return `error` and `logs` of a prediction that ended this way."""
    refusal = faults.refusal_text or FLAGGED_ERROR
    errors: dict[str, str | None] = {
        "nsfw": NSFW_ERROR,
        "crashed": CRASHED_ERROR,
        "flagged": None if faults.refusal_in_logs else refusal,
    }
    lines = [f"Using seed: {seed}"]
    if outcome == "flagged" and faults.refusal_in_logs:
        lines.append(refusal)
    if outcome in ("succeeded", "nsfw"):
        lines.append("100%|██████████| 4/4 [00:00<00:00,  8.93it/s]")
        if outcome == "nsfw":
            lines.append("NSFW content detected in image 0")
        lines.append(f"Total safe images: {int(outcome == 'succeeded')} out of 1")
    return errors.get(outcome), "\n".join(lines) + "\n"
