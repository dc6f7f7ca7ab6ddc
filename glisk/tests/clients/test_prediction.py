from __future__ import annotations

from typing import Any

import pytest

from glisk.clients.replicate import classify_prediction_failure, parse_prediction
from glisk.errors import (
    ContentPolicyError,
    InvalidRequestError,
    NoImageError,
    ProviderError,
    TransientError,
)


def ended(**changes: Any) -> ProviderError:
    return classify_prediction_failure(
        parse_prediction({"id": "p1", "status": "failed", "error": None} | changes)
    )


def test_a_refusal_of_moderation_is_one_of_content_policy() -> None:
    text = "The input or output was flagged as sensitive. (E005)"
    classified = ended(error=text)
    assert type(classified) is ContentPolicyError and text in str(classified)


def test_faults_of_the_machinery_and_unknown_ones_are_transient() -> None:
    for error in ("CUDA error: out of memory", "429-402-nsfw1 is new", "", None, {"odd": "object"}):
        assert type(ended(error=error)) is TransientError
    for status in ("canceled", "aborted"):
        assert type(ended(status=status, logs="NSFW content detected in image 0")) is TransientError


def test_the_logs_decide_only_when_there_is_no_error_text() -> None:
    logs = "NSFW content detected in image 0\nTotal safe images: 0 out of 1"
    assert type(ended(logs=logs)) is ContentPolicyError
    assert type(ended(logs=logs, error="CUDA error")) is TransientError


def test_an_end_without_a_usable_output_has_its_class() -> None:
    deleted = ended(status="succeeded", output=None, data_removed=True)
    assert type(deleted) is TransientError
    assert type(ended(status="succeeded", output=[])) is NoImageError
    assert type(ended(error="Input validation failed: - input.prompt")) is InvalidRequestError


def test_a_running_prediction_has_not_failed() -> None:
    with pytest.raises(ValueError, match="has not ended"):
        ended(status="queued")


def test_an_unknown_status_runs_until_it_has_an_end() -> None:
    moment = "2026-02-01T10:00:00Z"
    running = [("starting", None), ("processing", moment), ("queued", None)]
    ends = [("succeeded", None), ("failed", None), ("canceled", None), ("aborted", None)]
    for status, completed_at in [*running, *ends, ("exploded", moment)]:
        shown = {"id": "p1", "status": status, "completed_at": completed_at}
        assert parse_prediction(shown).is_terminal is ((status, completed_at) not in running)


def test_output_takes_several_forms() -> None:
    for output, urls in (
        (None, ()),
        ([], ()),
        ("https://a/b", ("https://a/b",)),
        (["https://a/0", "https://a/1"], ("https://a/0", "https://a/1")),
        ([1, None, "https://a"], ("https://a",)),
        ({"image": "https://a"}, ("https://a",)),
        ({"images": ["https://a"]}, ("https://a",)),
        ([{"url": "https://a", "width": 1}], ("https://a",)),
        ([["https://a"]], ("https://a",)),
        ({"a": {"b": [{"c": " https://a "}]}}, ("https://a",)),
        ("data:image/png;base64,AAAA", ("data:image/png;base64,AAAA",)),
        ({"nsfw": False, "note": "see https://a for help", "image": None}, ()),
        (["file:///etc/passwd", "//a/b", "a picture of data: nothing"], ()),
        # What looks like a picture is taken before what does not.
        (
            {"log": "https://a/run.json", "image": "https://a/0.PNG?sig=1", "mask": "https://a/m"},
            ("https://a/0.PNG?sig=1", "https://a/run.json", "https://a/m"),
        ),
    ):
        shown = {"id": "p1", "status": "succeeded", "output": output}
        assert parse_prediction(shown).output_urls == urls, output
    deep: Any = "https://a"
    for _ in range(50_000):
        deep = [deep]
    shown = {"id": "p1", "status": "succeeded", "output": deep}
    assert parse_prediction(shown).output_urls == ("https://a",)


def test_fields_of_a_wrong_type_count_as_absent() -> None:
    got = parse_prediction(
        {
            "id": "p1",
            "status": "processing",
            "logs": 7,
            "metrics": "fast",
            "input": [],
            "created_at": "yesterday",
            "completed_at": "2026-02-01T10:00:00",
            "data_removed": "no",
            "model": None,
        }
    )
    assert (got.logs, got.predict_time_seconds, got.input) == ("", None, {})
    assert (got.created_at, got.completed_at, got.data_removed) == (None, None, False)


def test_long_logs_keep_their_end() -> None:
    got = parse_prediction({"id": "p1", "status": "failed", "logs": "x" * 9000 + "the end"})
    assert got.logs.endswith("the end") and len(got.logs) == 4000


def test_without_id_and_status_it_is_no_prediction() -> None:
    for identifier in (None, 1, "", " ", "é", "a\x00", "x" * 101):
        with pytest.raises(ValueError, match="not a prediction"):
            parse_prediction({"id": identifier, "status": "x"})
    with pytest.raises(ValueError, match="not a prediction"):
        parse_prediction({"id": "p1"})
