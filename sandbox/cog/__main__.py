"""Run the Cog emulator as a process."""

from __future__ import annotations

import sys

from sandbox.cog.emulator import CogEmulator
from sandbox.http.process import base_parser, run
from sandbox.paint import Painter


def main() -> int:
    """Parse the options and serve."""
    parser = base_parser("cog", port=8605)
    parser.add_argument("--slots", type=int, default=1, help="predictions that run at once")
    parser.add_argument(
        "--generation-seconds", type=float, default=1.0, help="time that a prediction runs"
    )
    parser.add_argument(
        "--image-size", type=int, default=0, help="longest side in pixels; 0 is the model's size"
    )
    options = parser.parse_args()
    emulator = CogEmulator(
        host=options.host,
        port=options.port,
        public_url=options.public_url,
        log_file=options.log_file,
        seed=options.seed,
        slots=options.slots,
        generation_seconds=options.generation_seconds,
        painter=Painter(image_size=options.image_size),
    )
    return run(emulator, options)


if __name__ == "__main__":
    sys.exit(main())
