"""Run the Alchemy emulator as a process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sandbox.accounts import CONTRACT_ADDRESS
from sandbox.alchemy.emulator import SANDBOX_SIGNING_KEY, AlchemyEmulator
from sandbox.http.process import base_parser, run


def main() -> int:
    """Parse the options and serve; the signing key may come from the environment."""
    parser = base_parser("alchemy", port=8604)
    parser.add_argument("--rpc-url", default="http://127.0.0.1:8545", help="the node to follow")
    parser.add_argument("--contract", default=CONTRACT_ADDRESS, help="whose mints are notified")
    parser.add_argument(
        "--target", default="http://127.0.0.1:8000/webhooks/alchemy", help="the webhook's receiver"
    )
    parser.add_argument("--cursor-file", type=Path, help="go on from here after a restart")
    signing_key = os.environ.get("ALCHEMY_WEBHOOK_SECRET", "").split(",")[0].strip()
    return run(
        AlchemyEmulator(signing_key=signing_key or SANDBOX_SIGNING_KEY, **vars(parser.parse_args()))
    )


if __name__ == "__main__":
    sys.exit(main())
