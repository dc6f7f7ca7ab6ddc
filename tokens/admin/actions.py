"""What an operator may have done with tokens: the services of tokens.repairs, with their costs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.conf import settings

from glisk.admin.actions import AdminAction, Forecast, Outcome
from glisk.permissions import FAIL_TOKEN, HOLD_TOKEN, RECHECK_TOKEN, REGENERATE_TOKEN, RETRY_TOKEN
from tokens.models import Token
from tokens.pipeline.image_vendors import cap_reason, cost_of_new_images
from tokens.pipeline.jobs import model_of
from tokens.repairs import (
    RepairResult,
    fail_by_hand,
    hold_tokens,
    recheck_tokens,
    regenerate_tokens,
    release_tokens,
    retry_tokens,
)
from tokens.states import ACTIVE, TokenStatus

_REGENERABLE = (TokenStatus.UPLOADING, TokenStatus.READY, TokenStatus.FAILED)


def outcomes_of(results: Iterable[RepairResult]) -> list[Outcome]:
    return [Outcome(result.token_id, result.done, result.message) for result in results]


def generation_cost(results: Iterable[RepairResult]) -> str:
    """Return what the new predictions among these would cost, as a sentence; empty for none."""
    number = sum(result.pays for result in results)
    if not number:
        return ""
    images = "1 new image" if number == 1 else f"{number} new images"
    capped = f" {reason}" if (reason := cap_reason()) else ""
    return (
        f"This pays for {images}: about {cost_of_new_images(number).normalize():f} US dollars, at "
        f"{cost_of_new_images(1).normalize():f} an image by {model_of(settings.IMAGE_SERVICE)}."
        f"{capped}"
    )


def _repair(service: Callable[..., list[RepairResult]], **facts: Any) -> AdminAction:
    """Return an action that calls a service of tokens.repairs, and foretells by its dry run."""

    def run(keys: Sequence[Any], actor: str, reason: str) -> Sequence[Outcome]:
        return outcomes_of(service(token_ids=keys, actor=actor, reason=reason))

    def forecast(keys: Sequence[Any]) -> Forecast:
        results = service(token_ids=keys, actor="", reason="forecast", dry_run=True)
        return Forecast(outcomes_of(results), generation_cost(results))

    return AdminAction(run=run, forecast=forecast, logged=False, **facts)


def _recheck(keys: Sequence[Any], actor: str, reason: str) -> Sequence[Outcome]:
    return outcomes_of(recheck_tokens(token_ids=keys, actor=actor))


def _is_active(token: Token) -> bool:
    return token.status in ACTIVE


# In the order of their buttons; other apps put theirs in while their admin loads.
TOKEN_ACTIONS: list[AdminAction] = [
    _repair(
        retry_tokens,
        name="retry",
        label="Retry",
        permission=RETRY_TOKEN,
        explanation="Puts failed tokens back into the stage they failed in. What is stored is "
        "used again: an image that is here or paid for is not paid for twice.",
        icon="replay",
        fits=lambda token: token.status == TokenStatus.FAILED,
    ),
    _repair(
        release_tokens,
        name="release",
        label="Release",
        permission=HOLD_TOKEN,
        explanation="Lets held tokens go on where they are.",
        icon="play_arrow",
        fits=lambda token: token.held_at is not None,
    ),
    _repair(
        hold_tokens,
        name="hold",
        label="Hold",
        permission=HOLD_TOKEN,
        explanation="Keeps tokens back until they are released: nothing new is begun for them, "
        "and they are not revealed.",
        reason="required",
        icon="pause",
        fits=lambda token: _is_active(token) and token.held_at is None,
    ),
    _repair(
        regenerate_tokens,
        name="regenerate",
        label="Regenerate",
        permission=REGENERATE_TOKEN,
        explanation="Has a new image made by the frozen prompt. It is always paid for, and the "
        "old one is let go. Never after the reveal.",
        reason="required",
        icon="autorenew",
        dangerous=True,
        fits=lambda token: token.status in _REGENERABLE,
    ),
    _repair(
        fail_by_hand,
        name="fail",
        label="Fail",
        permission=FAIL_TOKEN,
        explanation="Gives tokens up: nothing more is tried until somebody retries or "
        "regenerates them. What was paid for stays on record.",
        reason="required",
        icon="block",
        dangerous=True,
        fits=lambda token: _is_active(token) or token.next_attempt_at is not None,
    ),
    AdminAction(
        name="recheck",
        label="Recheck",
        permission=RECHECK_TOKEN,
        explanation="Compares tokens with the contract now. One that others revealed is adopted; "
        "everything else is only named.",
        run=_recheck,
        reason="none",
        icon="fact_check",
    ),
]
