"""Whatever words a refusal has and wherever it stands, the fallback prompt is used once."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from tokens.models import Token
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Start, Vendors, is_failed, is_ready

pytestmark = pytest.mark.django_db

REFUSED = "a gore picture"
WORDS = [
    "Request Moderated",
    "Your request was rejected as a result of our safety system.",
    "moderation_blocked",
    "The image description involves sensitive content",  # not one that anybody reported here
]


def prompts(vendors: Vendors) -> list[str]:
    return [prediction.input["prompt"] for prediction in vendors.predictions]


@pytest.mark.parametrize("in_logs", [False, True], ids=["error", "logs"])
@pytest.mark.parametrize("words", WORDS)
def test_a_refusal_is_answered_by_the_fallback_prompt_once(
    worker: Start, vendors: Vendors, settings: Settings, words: str, in_logs: bool
) -> None:
    vendors.replicate.set_faults(refusal_text=words, refusal_in_logs=in_logs)
    token = TokenFactory.create(prompt=REFUSED)
    worker().until(is_ready(token))
    token.refresh_from_db()
    assert token.fallback_used
    assert prompts(vendors) == [REFUSED, settings.FALLBACK_CENSORED_PROMPT]


def test_a_refused_fallback_in_other_words_fails_as_content_policy(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.FALLBACK_CENSORED_PROMPT = "more gore"
    vendors.replicate.set_faults(refusal_text="Content Moderated", refusal_in_logs=True)
    token = TokenFactory.create(prompt=REFUSED)
    worker().until(is_failed(token))
    token.refresh_from_db()
    assert (token.error_class, vendors.paid) == ("content_policy", 2)


@pytest.mark.parametrize(
    "words",
    [
        "RuntimeError: the safety checker failed to load",
        "the moderation service is unavailable, the request was rejected",
        "prediction 3nsfw7moderated0flagged5 was lost",
    ],
)
def test_a_broken_moderation_takes_no_author_his_prompt(
    worker: Start, vendors: Vendors, settings: Settings, words: str
) -> None:
    settings.GENERATION_MAX_ATTEMPTS = 2
    vendors.replicate.set_faults(refusal_text=words)
    token = TokenFactory.create(prompt=REFUSED)
    worker().until(is_failed(token))
    assert prompts(vendors) == [REFUSED] * 2
    assert not Token.objects.get(pk=token.pk).fallback_used
