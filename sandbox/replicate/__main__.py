"""Run the Replicate emulator as a process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sandbox.http.process import base_parser, run, seconds_range
from sandbox.paint import Painter
from sandbox.replicate.emulator import (
    SANDBOX_TOKEN,
    SANDBOX_WEBHOOK_SECRET,
    ReplicateEmulator,
)


def main() -> int:
    """Parse the options and serve; secrets come from the environment, never from options."""
    parser = base_parser("replicate", port=8601)
    parser.add_argument(
        "--generation-seconds",
        type=seconds_range,
        default=(1.0, 1.0),
        metavar="S|LOW:HIGH",
        help="time that a prediction runs",
    )
    parser.add_argument("--state-dir", type=Path, help="keep predictions here over restarts")
    parser.add_argument("--image-size", type=int, default=1024, help="side in pixels")
    parser.add_argument(
        "--distinct-images",
        type=int,
        default=0,
        help="paint only so many pictures and stamp the files; 0 paints each",
    )
    options = vars(parser.parse_args())
    painter = Painter(options.pop("image_size"), distinct_images=options.pop("distinct_images"))
    emulator = ReplicateEmulator(
        painter=painter,
        token=os.environ.get("REPLICATE_API_TOKEN") or SANDBOX_TOKEN,
        webhook_secret=os.environ.get("REPLICATE_WEBHOOK_SECRET") or SANDBOX_WEBHOOK_SECRET,
        **options,
    )
    return run(emulator)


if __name__ == "__main__":
    sys.exit(main())
