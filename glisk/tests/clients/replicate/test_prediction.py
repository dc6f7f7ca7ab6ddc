from __future__ import annotations

from typing import Any

import pytest

from glisk.clients.replicate import (
    classify_prediction_failure,
    parse_prediction,
)
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
    assert type(classified) is ContentPolicyError
    assert classified.error_class == "content_policy"
    assert text in str(classified)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("Prediction interrupted; please retry (code: PA)", "interrupted"),
        ("Director: unexpected error handling prediction (E9828)", "director"),
        ("CUDA error: out of memory", "model_failed"),
        ("prediction 429-402-nsfw1 did something new", "model_failed"),
        ("", "model_failed"),
        (None, "model_failed"),
        ({"odd": "object"}, "model_failed"),
    ],
)
def test_faults_of_the_machinery_and_unknown_ones_are_transient(error: Any, code: str) -> None:
    classified = ended(error=error)
    assert type(classified) is TransientError and classified.code == code


@pytest.mark.parametrize("status", ["canceled", "aborted"])
def test_a_stopped_prediction_may_be_made_again(status: str) -> None:
    classified = ended(status=status, logs="NSFW content detected in image 0")
    assert type(classified) is TransientError and classified.code == status


def test_the_logs_decide_only_when_there_is_no_error_text() -> None:
    logs = "NSFW content detected in image 0\nTotal safe images: 0 out of 1"
    assert type(ended(logs=logs)) is ContentPolicyError
    assert type(ended(logs=logs, error="CUDA error")) is TransientError


def test_an_end_without_a_usable_output_has_its_class() -> None:
    deleted = ended(status="succeeded", output=None, data_removed=True)
    assert type(deleted) is TransientError and deleted.code == "output_removed"
    assert type(ended(status="succeeded", output=[])) is NoImageError
    assert type(ended(error="Input validation failed: - input.prompt")) is InvalidRequestError


def test_a_running_prediction_has_not_failed() -> None:
    for status in ("starting", "processing", "queued"):
        with pytest.raises(ValueError, match="has not ended"):
            ended(status=status)


def test_an_unknown_status_runs_until_it_has_an_end() -> None:
    moment = "2026-02-01T10:00:00Z"
    running = [("starting", None), ("processing", moment), ("queued", None)]
    ends = [("succeeded", None), ("failed", None), ("canceled", None), ("aborted", None)]
    for status, completed_at in [*running, *ends, ("exploded", moment)]:
        shown = {"id": "p1", "status": status, "completed_at": completed_at}
        assert parse_prediction(shown).is_terminal is ((status, completed_at) not in running)


@pytest.mark.parametrize(
    ("output", "urls"),
    [
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
    ],
)
def test_output_takes_several_forms(output: Any, urls: tuple[str, ...]) -> None:
    shown = {"id": "p1", "status": "succeeded", "output": output}
    assert parse_prediction(shown).output_urls == urls


def test_an_output_may_nest_as_deeply_as_it_likes() -> None:
    output: Any = "https://a"
    for _ in range(50_000):
        output = [output]
    shown = {"id": "p1", "status": "succeeded", "output": output}
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


@pytest.mark.parametrize("shown", [{}, {"id": "p1"}, {"status": "x"}, {"id": 1, "status": "x"}])
def test_without_id_and_status_it_is_no_prediction(shown: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a prediction"):
        parse_prediction(shown)
