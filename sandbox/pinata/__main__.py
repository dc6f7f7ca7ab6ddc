"""Run the Pinata emulator as a process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sandbox.http.process import base_parser, run, seconds_range
from sandbox.pinata.emulator import SANDBOX_JWT, PinataEmulator

DEFAULT_STORE = Path("var/sandbox/ipfs")


def main() -> int:
    """Parse the options and serve; secrets come from the environment, never from options."""
    parser = base_parser("pinata", port=8602)
    parser.add_argument(
        "--store", type=Path, default=DEFAULT_STORE, help="folder of content and pins"
    )
    parser.add_argument(
        "--pin-seconds",
        type=seconds_range,
        default=(0.2, 0.2),
        metavar="S|LOW:HIGH",
        help="time that a pin takes",
    )
    emulator = PinataEmulator(
        **vars(parser.parse_args()),
        jwt=os.environ.get("PINATA_JWT") or SANDBOX_JWT,
        api_key=os.environ.get("PINATA_API_KEY", ""),
        api_secret=os.environ.get("PINATA_API_SECRET", ""),
    )
    return run(emulator)


if __name__ == "__main__":
    sys.exit(main())
