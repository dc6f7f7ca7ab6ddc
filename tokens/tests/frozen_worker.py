"""A drain that stops itself at a moment that a test names, as SIGSTOP may hit anybody.

    python -m tokens.tests.frozen_worker MOMENT [unwatched]

`unwatched` leaves the kernel's dead man's timer out, as on systems that have none.
"""

# ruff: noqa: E402 - Django must be set up before its models are loaded

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import django

django.setup()

from glisk.clients import http
from glisk.clients.ipfs import PinataClient
from glisk.engine.drain import run_drain
from tokens.pipeline import collect, order, samples
from tokens.pipeline.drain import GenerationDrain, UploadDrain


def freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def frozen_before(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        freeze()
        return function(*arguments, **options)

    return call


def frozen_before_saving(captured: Sequence[Any], **options: Any) -> None:
    if captured:  # it is called for refusals, too
        freeze()
    saved(captured, **options)


def frozen_after(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        freeze()
        return result

    return call


def frozen_with_the_body_in_hand(moment: float, body: bytes) -> Iterator[bytes]:
    """Stop after the very last look at the clock."""
    (checked,) = in_time(moment, body)
    freeze()
    yield checked


in_time, saved = http._until, collect.save_captured


def main(moment: str, *options: str) -> None:
    match moment:
        case "before_the_check":
            order.create_prediction = frozen_before(order.create_prediction)
            samples.create_prediction = frozen_before(samples.create_prediction)
        case "before_the_send":
            http._until = frozen_with_the_body_in_hand
        case "before_the_id_is_stored":
            order.create_prediction = frozen_after(order.create_prediction)
        case "before_the_image_is_stored":
            collect.save_captured = frozen_before_saving
        case "during_the_upload":
            # mypy knows methods and class variables as what they were declared; this is a fault.
            PinataClient.pin_file = frozen_before(PinataClient.pin_file)  # type: ignore[method-assign]
        case _:
            raise ValueError(moment)
    drain = UploadDrain if moment == "during_the_upload" else GenerationDrain
    if "unwatched" in options:
        drain.longest_freeze_seconds = None  # type: ignore[assignment]  # no watch
    run_drain(drain)


if __name__ == "__main__":
    main(*sys.argv[1:])
