"""Run the Replicate emulator as a process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sandbox.http.process import add_range, base_parser, run
from sandbox.paint import Painter
from sandbox.replicate.desk import Pace
from sandbox.replicate.emulator import (
    SANDBOX_TOKEN,
    SANDBOX_WEBHOOK_SECRET,
    ReplicateEmulator,
)


def main() -> int:
    """Parse the options and serve; secrets come from the environment, never from options."""
    parser = base_parser("replicate", port=8601)
    add_range(parser, "--generation-seconds", (1.0, 1.0), "time that a prediction runs")
    add_range(parser, "--start-seconds", (0.0, 0.0), "time until a prediction starts")
    parser.add_argument(
        "--concurrency", type=int, default=0, help="predictions that run at once; 0 is no limit"
    )
    parser.add_argument(
        "--retention-seconds",
        type=float,
        default=Pace.retention,
        help="time after which input, output and files are deleted",
    )
    parser.add_argument(
        "--delivery-url", default="", help="base of file URLs instead of <public URL>/delivery"
    )
    parser.add_argument("--state-dir", type=Path, help="keep predictions here over restarts")
    parser.add_argument(
        "--image-size", type=int, default=0, help="longest side in pixels; 0 is the model's size"
    )
    parser.add_argument(
        "--distinct-images",
        type=int,
        default=0,
        help="paint only so many pictures of a kind and stamp the files; 0 paints each",
    )
    options = parser.parse_args()
    emulator = ReplicateEmulator(
        host=options.host,
        port=options.port,
        public_url=options.public_url,
        log_file=options.log_file,
        seed=options.seed,
        token=os.environ.get("REPLICATE_API_TOKEN") or SANDBOX_TOKEN,
        webhook_secret=os.environ.get("REPLICATE_WEBHOOK_SECRET") or SANDBOX_WEBHOOK_SECRET,
        generation_seconds=options.generation_seconds,
        start_seconds=options.start_seconds,
        concurrency=options.concurrency,
        retention_seconds=options.retention_seconds,
        delivery_url=options.delivery_url,
        state_dir=options.state_dir,
        painter=Painter(image_size=options.image_size, distinct_images=options.distinct_images),
    )
    return run(emulator, options)


if __name__ == "__main__":
    sys.exit(main())
