"""Run the gateway emulator as a process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sandbox.gateway.emulator import GatewayEmulator
from sandbox.http.process import base_parser, run
from sandbox.pinata.__main__ import DEFAULT_STORE
from sandbox.pinata.store import ContentStore
from sandbox.placeholder import pin_placeholder


def main() -> int:
    """Parse the options and serve; the token, if any, comes from the environment."""
    parser = base_parser("gateway", port=8603)
    parser.add_argument(
        "--store", type=Path, default=DEFAULT_STORE, help="the Pinata emulator's folder"
    )
    options = parser.parse_args()
    store = ContentStore(options.store)
    pin_placeholder(store)
    emulator = GatewayEmulator(
        host=options.host,
        port=options.port,
        public_url=options.public_url,
        log_file=options.log_file,
        seed=options.seed,
        store=store,
        token=os.environ.get("SANDBOX_GATEWAY_TOKEN", ""),
    )
    return run(emulator, options)


if __name__ == "__main__":
    sys.exit(main())
