"""Hold predictions: what the API shows of them, and what the emulator decided about them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandbox.http.jsonlines import JsonLines

ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32
ID_LENGTH = 26
TERMINAL = frozenset({"succeeded", "failed", "canceled", "aborted"})


def new_id() -> str:
    """Make a prediction id."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


def iso(moment: float | None) -> str | None:
    """Write a Unix time as Replicate does: UTC, milliseconds, "Z"."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


@dataclass
class Prediction:
    """Hold one prediction; times are Unix seconds.

    `outcome` and `garbage` are decided on creation and kept, so that a restarted emulator comes
    to the same end.
    """

    id: str
    model: str
    version: str
    input: dict[str, Any]
    created_at: float
    deadline_at: float
    start_seconds: float
    run_seconds: float
    seed: int
    outcome: str  # succeeded, nsfw, flagged, crashed, stuck
    unsafe_images: list[int]
    garbage: str  # "", html, truncated, black, empty
    webhook: str = ""
    webhook_events: list[str] = field(default_factory=list)
    file_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    status: str = "starting"
    output: list[str] | None = None
    error: str | None = None
    logs: str = ""
    started_at: float | None = None
    completed_at: float | None = None

    @property
    def terminal(self) -> bool:
        """Say whether the prediction has ended."""
        return self.status in TERMINAL

    def safe_images(self, images: int) -> list[int]:
        """Return the numbers of the images that were not held back."""
        return [number for number in range(images) if number not in self.unsafe_images]

    def metrics(self) -> dict[str, Any]:
        """Return the metrics of an ended prediction, in seconds."""
        if self.completed_at is None or self.started_at is None:
            return {}
        metrics: dict[str, Any] = {
            "predict_time": round(self.completed_at - self.started_at, 6),
            "total_time": round(self.completed_at - self.created_at, 6),
        }
        if self.output:
            metrics["image_count"] = len(self.output)
        return metrics

    def as_json(
        self, base_url: str, *, removed: bool = False, ahead: float = 0.0
    ) -> dict[str, Any]:
        """Describe the prediction; `removed` after the retention time has passed.

        `ahead`: the seconds by which the vendor's clock is.
        """

        def moment(seconds: float | None) -> str | None:
            return None if seconds is None else iso(seconds + ahead)

        api = f"{base_url}/v1/predictions/{self.id}"
        return {
            "id": self.id,
            "model": self.model,
            "version": self.version,
            "input": {} if removed else self.input,
            "output": None if removed else self.output,
            "logs": "" if removed else self.logs,
            "error": self.error,
            "status": self.status,
            "data_removed": removed,
            "source": "api",
            "created_at": moment(self.created_at),
            "started_at": moment(self.started_at),
            "completed_at": moment(self.completed_at),
            "deadline": moment(self.deadline_at),
            "deployment": None,
            "metrics": self.metrics(),
            "urls": {
                "get": api,
                "cancel": f"{api}/cancel",
                "web": f"{base_url}/p/{self.id}",
                "stream": f"{base_url}/v1/files/{self.file_token}",
            },
        }


class PredictionStore:
    """Keep predictions in memory in order of creation and, with a folder, on disk."""

    def __init__(self, folder: Path | None = None) -> None:
        self._predictions: dict[str, Prediction] = {}
        self._by_file_token: dict[str, Prediction] = {}
        self._file = JsonLines(folder / "predictions.jsonl") if folder is not None else None
        for record in self._file or ():
            self._index(Prediction(**record))

    def _index(self, prediction: Prediction) -> None:
        self._predictions[prediction.id] = prediction
        self._by_file_token[prediction.file_token] = prediction

    def save(self, prediction: Prediction) -> None:
        """Remember a prediction or its newest state."""
        self._index(prediction)
        if self._file is not None:
            self._file.append(asdict(prediction))

    def get(self, prediction_id: str) -> Prediction | None:
        """Return a prediction by its id."""
        return self._predictions.get(prediction_id)

    def by_file_token(self, token: str) -> Prediction | None:
        """Return the prediction whose files carry this token."""
        return self._by_file_token.get(token)

    def newest_first(self) -> Iterator[Prediction]:
        """Walk through the predictions, the newest first."""
        return reversed(list(self._predictions.values()))

    def __iter__(self) -> Iterator[Prediction]:
        return iter(list(self._predictions.values()))

    def __len__(self) -> int:
        return len(self._predictions)

    def clear(self) -> None:
        """Forget all predictions, on disk too."""
        self._predictions.clear()
        self._by_file_token.clear()
        if self._file is not None:
            self._file.clear()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
