"""Take orders for predictions and see them through: run, bill, files, webhooks."""

from __future__ import annotations

import base64
import heapq
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.http import Bill, BillEntry, FaultPlan
from sandbox.replicate.foreign import foreign_predictions
from sandbox.replicate.lifecycle import Lifecycle
from sandbox.replicate.models import Model, named_model
from sandbox.replicate.orders import Order
from sandbox.replicate.outcomes import (
    OUTPUT_SHAPES,
    ReplicateFaults,
    decide,
    error_text,
    log_text,
)
from sandbox.replicate.pictures import CONTENT_TYPES, FileOrder, PictureRoom
from sandbox.replicate.predictions import Prediction, PredictionStore, new_id
from sandbox.replicate.webhooks import WebhookSender

LARGEST_SEED = 2**32 - 1
DEFAULT_QUALITY = 80


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Set how long things take, in seconds; ranges are drawn from by seed."""

    generation: tuple[float, float] = (1.0, 1.0)
    start: tuple[float, float] = (0.0, 0.0)
    run_limit: float = 1800.0
    retention: float = 3600.0
    concurrency: int = 0  # predictions that run at once; 0 is no bound


class Desk:
    """Own all predictions; every method runs in the emulator's event loop."""

    def __init__(
        self,
        *,
        pace: Pace,
        plan: FaultPlan,
        faults: Callable[[], ReplicateFaults],
        bill: Bill,
        pictures: PictureRoom,
        state_dir: Path | None,
        addresses: Callable[[], tuple[str, str]],
    ) -> None:
        """Prepare the desk; `addresses` gives the base URLs of the API and of files."""
        self.store = PredictionStore(state_dir)
        self.lifecycle = Lifecycle(self._finish, self._changed, pace.concurrency)
        self._pace = pace
        self._plan = plan
        self._faults = faults
        self._bill = bill
        self._pictures = pictures
        self._addresses = addresses
        self._sender: WebhookSender | None = None

    def open(self, sender: WebhookSender) -> None:
        """Go on with the predictions that an earlier process left."""
        self._sender = sender
        for prediction in self.store:
            self._charge(prediction)
            if not prediction.terminal:
                self.lifecycle.accept(prediction)

    def close(self) -> None:
        """Stop all timers; what is stored goes on at the next start."""
        self.lifecycle.clear()
        self.store.close()

    def clear(self) -> None:
        """Forget all predictions."""
        self.lifecycle.clear()
        self.store.clear()

    def accept(self, order: Order) -> Prediction:
        """Charge for a new prediction and begin with it."""
        faults, plan, pace, now = self._faults(), self._plan, self._pace, time.time()
        images = order.model.setting(order.input, "num_outputs")
        outcome = decide(plan, faults, order.input["prompt"], images)
        given_seed = order.input.get("seed")
        prediction = Prediction(
            id=new_id(),
            model=order.model.name,
            version=order.model.version,
            input=order.input,
            created_at=now,
            deadline_at=now + (order.cancel_after_seconds or pace.run_limit),
            start_seconds=plan.seconds("start", pace.start),
            run_seconds=plan.seconds("generation", pace.generation),
            seed=secrets.randbelow(LARGEST_SEED) if given_seed is None else given_seed,
            outcome=outcome.name,
            unsafe_images=list(outcome.unsafe),
            garbage=outcome.garbage,
            webhook=order.webhook,
            webhook_events=order.webhook_events,
        )
        self.store.save(prediction)
        self._charge(prediction)
        self.lifecycle.accept(prediction)
        if prediction.outcome == "succeeded":
            for image in prediction.safe_images(images):
                self._pictures.order(self._file_order(prediction, image))
        return prediction

    def newest_first(self) -> Iterator[Prediction]:
        """Walk through all that the account has, the newest first."""
        own, per_minute = self.store.newest_first(), self._faults().foreign_per_minute
        if not per_minute:
            return own
        foreign = foreign_predictions(time.time(), per_minute)
        return heapq.merge(own, foreign, key=lambda prediction: -prediction.created_at)

    def removed(self, prediction: Prediction) -> bool:
        """Say whether input, output and files are gone by now."""
        ended_at = prediction.completed_at
        kept = 0.0 if self._faults().data_removed else self._pace.retention
        return ended_at is not None and time.time() - ended_at >= kept

    def show(self, prediction: Prediction) -> dict[str, object]:
        """Describe a prediction as the API does."""
        removed, faults = self.removed(prediction), self._faults()
        shown = prediction.as_json(
            self._addresses()[0], removed=removed, ahead=faults.clock_ahead_seconds
        )
        if prediction.output and not removed:
            urls = self._inline(prediction) if faults.output_inline else prediction.output
            shown["output"] = OUTPUT_SHAPES[faults.output_shape](urls)
        return shown

    def _inline(self, prediction: Prediction) -> list[str]:
        images = _model(prediction).setting(prediction.input, "num_outputs")
        orders = [self._file_order(prediction, n) for n in prediction.safe_images(images)]
        return [
            f"data:{CONTENT_TYPES[order.file_format]};base64,"
            + base64.b64encode(self._pictures.order(order).result()).decode()
            for order in orders
        ]

    def find_file(self, token: str, name: str) -> tuple[Prediction, FileOrder] | None:
        """Find the output `name` ("out-0.webp") of the prediction with this file token."""
        prediction = self.store.by_file_token(token)
        if prediction is None or self.removed(prediction):
            return None
        for position, url in enumerate(prediction.output or []):
            if url.endswith(f"/{name}"):
                images = _model(prediction).setting(prediction.input, "num_outputs")
                image = prediction.safe_images(images)[position]
                return prediction, self._file_order(prediction, image)
        return None

    def _charge(self, prediction: Prediction) -> None:
        model = _model(prediction)
        images = model.setting(prediction.input, "num_outputs")
        self._bill.add(
            BillEntry(
                at=prediction.created_at,
                subject=prediction.id,
                key=json.dumps(prediction.input, sort_keys=True, ensure_ascii=False),
                price_usd=round(model.price_usd * images, 6),
                detail={"model": prediction.model, "webhook": prediction.webhook},
            )
        )

    @staticmethod
    def _file_order(prediction: Prediction, image: int) -> FileOrder:
        model = _model(prediction)
        width, height = model.size(prediction.input)
        quality = model.setting(prediction.input, "output_quality")
        return FileOrder(
            prediction.input["prompt"],
            prediction.seed + image,
            width,
            height,
            model.output_format(prediction.input),
            DEFAULT_QUALITY if quality is None else quality,
            prediction.garbage,
        )

    # --- what the life cycle tells ---

    def _finish(self, prediction: Prediction) -> None:
        model = _model(prediction)
        images = model.setting(prediction.input, "num_outputs")
        prediction.logs = log_text(
            prediction.outcome, prediction.seed, images, prediction.unsafe_images, self._faults()
        )
        prediction.error = error_text(model, prediction.outcome, self._faults())
        if prediction.error is not None:
            prediction.status = "failed"
            return
        prediction.status = "succeeded"
        if prediction.outcome == "flagged":  # refused, but only the logs say so
            prediction.output = []
            return
        base, extension = self._addresses()[1], model.output_format(prediction.input)
        prediction.output = [
            f"{base}/xezq/{prediction.file_token}/out-{position}.{extension}"
            for position in range(images - len(prediction.unsafe_images))
        ]

    def _changed(self, prediction: Prediction, event: str) -> None:
        self.store.save(prediction)
        if not prediction.webhook:
            return
        events = [event]
        if event == "completed":
            found = {"logs": prediction.logs, "output": prediction.output}
            events = [*(name for name, content in found.items() if content), event]
        for name in events:
            if name in prediction.webhook_events:
                self._notify(prediction, name)

    def _notify(self, prediction: Prediction, event: str) -> None:
        assert self._sender is not None
        faults, plan = self._faults(), self._plan
        fault = ""
        if plan.chance("webhook-lost", faults.webhook_lost_rate):
            fault = "lost"
        elif plan.chance("webhook-forged", faults.webhook_forged_rate):
            fault = "forged"
        self._sender.send(
            prediction.webhook,
            json.dumps(self.show(prediction)).encode(),
            prediction_id=prediction.id,
            event=event,
            delay_seconds=plan.seconds("webhook-delay", faults.webhook_delay_seconds),
            fault=fault,
            copies=2 if plan.chance("webhook-duplicate", faults.webhook_duplicate_rate) else 1,
        )


def _model(prediction: Prediction) -> Model:
    return named_model(prediction.model)
