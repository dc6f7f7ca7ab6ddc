"""Run the gateway emulator as a process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sandbox.gateway.emulator import GatewayEmulator
from sandbox.http.process import base_parser, run
from sandbox.pinata.__main__ import DEFAULT_STORE
from sandbox.pinata.placeholder import pin_placeholder
from sandbox.pinata.store import ContentStore


def main() -> int:
    """Parse the options and serve; the token, if any, comes from the environment."""
    parser = base_parser("gateway", port=8603)
    parser.add_argument(
        "--store", type=Path, default=DEFAULT_STORE, help="the Pinata emulator's folder"
    )
    options = vars(parser.parse_args())
    store = ContentStore(options.pop("store"))
    pin_placeholder(store)
    token = os.environ.get("SANDBOX_GATEWAY_TOKEN", "")
    return run(GatewayEmulator(store=store, token=token, **options))


if __name__ == "__main__":
    sys.exit(main())
