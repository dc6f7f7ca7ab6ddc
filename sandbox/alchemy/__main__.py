"""Run the Alchemy emulator as a process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sandbox.accounts import CONTRACT_ADDRESS
from sandbox.alchemy.deliveries import TIMEOUT_SECONDS
from sandbox.alchemy.emulator import SANDBOX_SIGNING_KEY, SANDBOX_WEBHOOK_ID, AlchemyEmulator
from sandbox.alchemy.envelope import DEFAULT_TRANSACTION_FIELDS, TRANSACTION_FIELDS
from sandbox.http.process import base_parser, run


def main() -> int:
    """Parse the options and serve; the signing key may come from the environment."""
    parser = base_parser("alchemy", port=8604)
    parser.add_argument("--rpc-url", default="http://127.0.0.1:8545", help="the node to follow")
    parser.add_argument("--contract", default=CONTRACT_ADDRESS, help="whose mints are notified")
    parser.add_argument(
        "--target", default="http://127.0.0.1:8000/webhooks/alchemy", help="the webhook's receiver"
    )
    parser.add_argument(
        "--signing-key", default="", help="default: ALCHEMY_WEBHOOK_SECRET, else the sandbox's key"
    )
    parser.add_argument("--webhook-id", default=SANDBOX_WEBHOOK_ID)
    parser.add_argument("--network", default="", help="event.network; left out when empty")
    parser.add_argument(
        "--heartbeats", action="store_true", help="notify of blocks without matching logs too"
    )
    parser.add_argument(
        "--transaction-fields",
        default=",".join(DEFAULT_TRANSACTION_FIELDS),
        help=f"of {','.join(TRANSACTION_FIELDS)}",
    )
    parser.add_argument("--from-block", type=int, help="default: after the current head")
    parser.add_argument("--cursor-file", type=Path, help="go on from here after a restart")
    parser.add_argument(
        "--timeout-seconds", type=float, default=TIMEOUT_SECONDS, help="wait for a reply"
    )
    parser.add_argument(
        "--pause-after", type=int, default=0, help="failures in a row that pause; 0 never pauses"
    )
    options = parser.parse_args()
    environment_key = os.environ.get("ALCHEMY_WEBHOOK_SECRET", "").split(",")[0].strip()
    emulator = AlchemyEmulator(
        host=options.host,
        port=options.port,
        public_url=options.public_url,
        log_file=options.log_file,
        seed=options.seed,
        rpc_url=options.rpc_url,
        target=options.target,
        contract=options.contract,
        signing_key=options.signing_key or environment_key or SANDBOX_SIGNING_KEY,
        webhook_id=options.webhook_id,
        network=options.network,
        skip_empty_messages=not options.heartbeats,
        transaction_fields=tuple(options.transaction_fields.split(",")),
        from_block=options.from_block,
        cursor_file=options.cursor_file,
        timeout_seconds=options.timeout_seconds,
        pause_after=options.pause_after,
    )
    return run(emulator, options)


if __name__ == "__main__":
    sys.exit(main())
