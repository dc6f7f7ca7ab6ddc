"""Decide how predictions end: by words in the prompt, else by rates and seed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox.http import FaultPlan, Faults
from sandbox.replicate.models import Model

FLUX_NSFW_ERROR = (
    "All generated images contained NSFW content. Try running it again with a different prompt."
)
SD_NSFW_ERROR = "NSFW content detected. Try running it again, or try a different prompt."
FLAGGED_ERROR = (
    "The input or output was flagged as sensitive. Please try again with different inputs. (E005)"
)
CRASHED_ERROR = "Director: unexpected error handling prediction (E6716)"

ACCOUNT_REFUSALS = ("insufficient_credit", "spend_limit", "invalid_version")
GARBAGE_KINDS = ("html", "truncated", "black", "empty")

# How a model may hold its images out; each is a function of their URLs.
OUTPUT_SHAPES: dict[str, Callable[[list[str]], Any]] = {
    "list": lambda urls: urls,
    "string": lambda urls: urls[0],
    "nested": lambda urls: [urls],
    "object": lambda urls: {"seed": 7, "image": urls[0]},
    "images": lambda urls: {"images": urls, "has_nsfw_concepts": [False]},
    "objects": lambda urls: [{"url": url, "width": 1024} for url in urls],
    "deep": lambda urls: {"result": {"data": [{"files": [{"href": url}]} for url in urls]}},
    "empty": lambda urls: [],
    "null": lambda urls: None,
    "words": lambda urls: {"image": None, "message": "done"},
}


@dataclass(frozen=True, kw_only=True)
class ReplicateFaults(Faults):
    """Set how Replicate misbehaves.

    The `*_words` are comma-separated words; a prompt that has one of them as a whole word gets
    that outcome. A prompt with the word "garbage-html" (-truncated, -black, -empty) gets such a
    file. `account_refusal` is empty or one of ACCOUNT_REFUSALS.
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

    nsfw_words: str = "nsfw,nude"
    nsfw_rate: float = 0.0
    flagged_words: str = "e005,gore"
    flagged_rate: float = 0.0
    flagged_suffix: str = ""
    crash_words: str = "crash-the-model"
    crash_rate: float = 0.0
    stuck_words: str = "never-ending"
    stuck_rate: float = 0.0
    garbage_rate: float = 0.0
    garbage_kinds: str = ",".join(GARBAGE_KINDS)
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
    webhook_duplicate_rate: float = 0.0
    webhook_forged_rate: float = 0.0
    webhook_delay_seconds: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = set(self.garbage_kinds.split(",")) - set(GARBAGE_KINDS)
        if unknown:
            raise ValueError(f"garbage_kinds: unknown {', '.join(sorted(unknown))}")
        if self.output_shape not in OUTPUT_SHAPES:
            raise ValueError(f"output_shape: unknown {self.output_shape!r}")
        if self.account_refusal not in ("", *ACCOUNT_REFUSALS):
            raise ValueError(f"account_refusal: unknown {self.account_refusal!r}")


@dataclass(frozen=True)
class Outcome:
    """Say how a prediction ends; `unsafe` are the indices of images that are held back."""

    name: str
    unsafe: tuple[int, ...] = ()
    garbage: str = ""


def has_word(prompt: str, words: str) -> bool:
    """Say whether a prompt holds one of the comma-separated words as a whole word."""
    return any(
        re.search(rf"(?<![\w-]){re.escape(word.strip())}(?![\w-])", prompt, re.IGNORECASE)
        for word in words.split(",")
        if word.strip()
    )


def decide(plan: FaultPlan, faults: ReplicateFaults, prompt: str, images: int) -> Outcome:
    """Draw the outcome of a new prediction."""
    if has_word(prompt, faults.flagged_words) or plan.chance("flagged", faults.flagged_rate):
        return Outcome("flagged")
    if has_word(prompt, faults.crash_words) or plan.chance("crash", faults.crash_rate):
        return Outcome("crashed")
    if has_word(prompt, faults.stuck_words) or plan.chance("stuck", faults.stuck_rate):
        return Outcome("stuck")
    all_unsafe = has_word(prompt, faults.nsfw_words)
    unsafe = tuple(
        index for index in range(images) if all_unsafe or plan.chance("nsfw", faults.nsfw_rate)
    )
    if len(unsafe) == images:
        return Outcome("nsfw", unsafe)
    return Outcome("succeeded", unsafe, _garbage(plan, faults, prompt))


def _garbage(plan: FaultPlan, faults: ReplicateFaults, prompt: str) -> str:
    for kind in GARBAGE_KINDS:
        if has_word(prompt, f"garbage-{kind}"):
            return kind
    if plan.chance("garbage", faults.garbage_rate):
        return plan.stream("garbage-kind").choice(faults.garbage_kinds.split(","))
    return ""


def error_text(model: Model, outcome: str, faults: ReplicateFaults) -> str | None:
    """Return the `error` of a prediction that ended this way."""
    if outcome == "nsfw":
        return FLUX_NSFW_ERROR if model.family == "flux" else SD_NSFW_ERROR
    if outcome == "flagged" and faults.refusal_in_logs:
        return None
    if outcome == "flagged" and faults.refusal_text:
        return faults.refusal_text
    if outcome == "flagged":
        return FLAGGED_ERROR + (f" ({faults.flagged_suffix})" if faults.flagged_suffix else "")
    return CRASHED_ERROR if outcome == "crashed" else None


def log_text(
    outcome: str, seed: int, images: int, unsafe: list[int], faults: ReplicateFaults
) -> str:
    """Write the `logs` of a finished prediction."""
    lines = [f"Using seed: {seed}"]
    if outcome == "flagged" and faults.refusal_in_logs:
        lines.append(faults.refusal_text or FLAGGED_ERROR)
    if outcome in ("succeeded", "nsfw"):
        lines.append("100%|██████████| 4/4 [00:00<00:00,  8.93it/s]")
        lines += [f"NSFW content detected in image {index}" for index in unsafe]
        lines.append(f"Total safe images: {images - len(unsafe)} out of {images}")
    return "\n".join(lines) + "\n"
