"""Run the Pinata emulator as a process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sandbox.http.process import add_range, base_parser, run
from sandbox.pinata.emulator import SANDBOX_JWT, PinataEmulator

DEFAULT_STORE = Path("var/sandbox/ipfs")


def main() -> int:
    """Parse the options and serve; secrets come from the environment, never from options."""
    parser = base_parser("pinata", port=8602)
    parser.add_argument(
        "--store", type=Path, default=DEFAULT_STORE, help="folder of content and pins"
    )
    add_range(parser, "--pin-seconds", (0.2, 0.2), "time that a pin takes")
    options = parser.parse_args()
    emulator = PinataEmulator(
        host=options.host,
        port=options.port,
        public_url=options.public_url,
        log_file=options.log_file,
        seed=options.seed,
        store=options.store,
        jwt=os.environ.get("PINATA_JWT") or SANDBOX_JWT,
        api_key=os.environ.get("PINATA_API_KEY", ""),
        api_secret=os.environ.get("PINATA_API_SECRET", ""),
        pin_seconds=options.pin_seconds,
    )
    return run(emulator, options)


if __name__ == "__main__":
    sys.exit(main())
