"""Hold predictions: what the API shows of them, and what the emulator decided about them."""

from __future__ import annotations

import base64
import hashlib
import heapq
import hmac
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandbox.http import JsonLines

ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32
ID_LENGTH = 26
TERMINAL = frozenset({"succeeded", "failed", "canceled"})


def new_id() -> str:
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


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
    run_seconds: float
    seed: int
    outcome: str  # succeeded, nsfw, flagged, crashed, stuck
    garbage: str  # "", html, truncated, black, empty
    webhook: str = ""
    file_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    status: str = "starting"
    output: str = ""  # the image's address
    error: str | None = None
    logs: str = ""
    started_at: float | None = None
    completed_at: float | None = None

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    def as_json(self, base_url: str, *, removed: bool, ahead: float) -> dict[str, Any]:
        """Describe the prediction without its output; `removed` after the retention time.

        `ahead`: the seconds by which the vendor's clock is.
        """

        def moment(seconds: float | None) -> str | None:
            if seconds is None:
                return None
            shown = datetime.fromtimestamp(seconds + ahead, UTC)
            return shown.isoformat(timespec="milliseconds").replace("+00:00", "Z")

        metrics = {}
        if self.completed_at is not None and self.started_at is not None:
            metrics["predict_time"] = round(self.completed_at - self.started_at, 6)
            metrics["total_time"] = round(self.completed_at - self.created_at, 6)
        api = f"{base_url}/v1/predictions/{self.id}"
        return {
            "id": self.id,
            "model": self.model,
            "version": self.version,
            "input": {} if removed else self.input,
            "output": None,
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
            "metrics": metrics,
            "urls": {"get": api, "cancel": f"{api}/cancel", "web": f"{base_url}/p/{self.id}"},
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
        self._index(prediction)
        if self._file is not None:
            self._file.append(asdict(prediction))

    def get(self, prediction_id: str) -> Prediction | None:
        return self._predictions.get(prediction_id)

    def by_file_token(self, token: str) -> Prediction | None:
        """Return the prediction whose file carries this token."""
        return self._by_file_token.get(token)

    def all(self) -> list[Prediction]:
        return list(self._predictions.values())

    def newest_first(self, foreign_per_minute: int) -> Iterator[Prediction]:
        """Walk through all that the account has; somebody else's have no beginning."""
        own = reversed(self.all())
        if not foreign_per_minute:
            return own
        foreign = _foreign_predictions(foreign_per_minute)
        return heapq.merge(own, foreign, key=lambda prediction: -prediction.created_at)

    def clear(self) -> None:
        self._predictions.clear()
        self._by_file_token.clear()
        if self._file is not None:
            self._file.clear()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _foreign_predictions(per_minute: int) -> Iterator[Prediction]:
    gap_ms = 60_000 // per_minute
    created_ms = int(time.time() * 1000) // gap_ms * gap_ms
    while True:
        created_ms -= gap_ms
        yield _foreign_made_at(created_ms)


def foreign_prediction(prediction_id: str) -> Prediction | None:
    """Return somebody else's prediction, made up by its id, or None."""
    if not re.fullmatch(rf"x\d{{{ID_LENGTH - 1}}}", prediction_id):
        return None
    return _foreign_made_at(int(prediction_id[1:]))


def _foreign_made_at(created_ms: int) -> Prediction:
    created_at = created_ms / 1000
    return Prediction(
        id=f"x{created_ms:0{ID_LENGTH - 1}d}",
        model="somebody/else",
        version="hidden",
        input={"prompt": "a picture of somebody else", "seed": created_ms % 2**31},
        created_at=created_at,
        deadline_at=created_at + 1.0,
        run_seconds=1.0,
        seed=0,
        outcome="succeeded",
        garbage="",
        file_token="",
        status="succeeded",
        started_at=created_at,
        completed_at=created_at + 1.0,
    )


def sign(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    """Compute the `webhook-signature` header (https://www.standardwebhooks.com)."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def signed_headers(secret: str, webhook_id: str, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt to deliver a webhook."""
    timestamp = str(int(time.time()))
    return {
        "Content-Type": "application/json",
        "User-Agent": "Replicate-Webhooks/1.0",
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": sign(secret, webhook_id, timestamp, body),
    }


@dataclass(frozen=True)
class Delivery:
    """Describe one attempt to deliver a webhook; `status` is 0 when no reply came.

    `fault` is "" or "lost".
    """

    webhook_id: str
    prediction_id: str
    attempt: int
    status: int
    fault: str
