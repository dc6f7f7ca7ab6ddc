from __future__ import annotations

import pickle

import pytest

from glisk.errors import (
    AccountError,
    ArtefactError,
    ContentPolicyError,
    GliskError,
    InvalidRequestError,
    PermanentError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
    backoff_seconds,
    error_class_of,
)

KINDS = [
    (ProviderError, "provider"),
    (TransientError, "transient"),
    (UnknownOutcomeError, "unknown_outcome"),
    (PermanentError, "permanent"),
    (InvalidRequestError, "validation"),
    (ContentPolicyError, "content_policy"),
    (AccountError, "account"),
    (ArtefactError, "artefact"),
]


@pytest.mark.parametrize(("kind", "word"), KINDS)
def test_every_kind_has_its_own_stable_word(kind: type[ProviderError], word: str) -> None:
    error = kind("what happened", vendor="acme", status=500, code="E1")
    assert error.error_class == error_class_of(error) == word
    assert str(error) == "what happened"
    assert (error.vendor, error.status, error.code) == ("acme", 500, "E1")
    copy = pickle.loads(pickle.dumps(error))  # as the task queue does
    assert type(copy) is kind and repr(copy) == repr(error)
    assert copy.__dict__ == error.__dict__


def test_other_errors_have_words_of_their_own() -> None:
    limited = TransientError("slow", vendor="acme", rate_limited=True)
    assert error_class_of(limited) == "rate_limited"
    assert error_class_of(KeyError("x")) == "unexpected"
    assert error_class_of(GliskError("x")) == "internal"


def test_messages_are_redacted_and_bounded() -> None:
    error = ProviderError("token r8_abcdefghijkl " + "x" * 5000, vendor="acme", code="r8_abcdefgh")
    for shown in (str(error), repr(error), str(error.code), str(error.args)):
        assert "abcdefgh" not in shown
    assert len(str(error)) == 1000


def test_waits_double_up_to_the_cap_and_are_spread_below_it() -> None:
    for attempt, longest in enumerate([2, 4, 8, 16, 20, 20], 1):
        waits = [backoff_seconds(attempt, base=2, cap=20) for _ in range(50)]
        assert 0.8 * longest <= min(waits) < max(waits) <= longest
    assert backoff_seconds(10_000, cap=300) <= 300


def test_a_vendors_wish_is_never_undercut_even_beyond_the_cap() -> None:
    assert 500 <= backoff_seconds(1, cap=60, at_least=500) <= 500.2
    assert 12 <= backoff_seconds(5, at_least=3) <= 16
