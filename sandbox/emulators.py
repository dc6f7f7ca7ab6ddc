"""Run a vendor's emulator as a process, until SIGTERM or SIGINT.

    python -m sandbox.emulators replicate --port 8601

Secrets come from the environment, never from options.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from glisk.engine.process import die_with
from sandbox.accounts import CONTRACT_ADDRESS
from sandbox.http import Emulator

PORTS = {"replicate": 8601, "pinata": 8602, "gateway": 8603, "alchemy": 8604}


def main() -> int:
    """Serve; return 1 if the port is taken."""
    options = _parser().parse_args()
    emulator = _emulator(options)
    # Nobody is left to stop an emulator whose supervisor was killed.
    die_with(os.getppid(), signal.SIGTERM)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: emulator.request_stop())
    try:
        emulator.serve_forever(
            lambda: print(f"{emulator.name} emulator on {emulator.url}", flush=True)
        )
    except OSError as error:
        print(f"{emulator.name} emulator: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox.emulators", description=__doc__)
    parser.add_argument("vendor", choices=PORTS)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, help="port to listen on; 0 is a free one")
    add("--public-url", default="", help="address clients use, where it is another one")
    add("--log-file", type=Path, help="append every call here as a JSON line")
    of = parser.add_argument_group("Replicate").add_argument
    of("--generation-seconds", type=seconds_range, default=(1.0, 1.0), metavar="S|LOW:HIGH")
    of("--state-dir", type=Path, help="keep predictions here over restarts")
    of("--image-size", type=int, default=1024, help="side in pixels")
    of("--distinct-images", type=int, default=0, help="paint only so many; 0 paints each")
    of = parser.add_argument_group("Pinata and gateway").add_argument
    of("--store", type=Path, default=Path("var/sandbox/ipfs"), help="folder of content and pins")
    of("--pin-seconds", type=seconds_range, default=(0.2, 0.2), metavar="S|LOW:HIGH")
    of = parser.add_argument_group("Alchemy").add_argument
    of("--rpc-url", default="http://127.0.0.1:8545", help="the node to follow")
    of("--contract", default=CONTRACT_ADDRESS, help="whose mints are notified")
    of("--target", default="http://127.0.0.1:8000/webhooks/alchemy", help="the receiver")
    of("--cursor-file", type=Path, help="go on from here after a restart")
    return parser


def seconds_range(text: str) -> tuple[float, float]:
    """Parse "1.5" or "0.5:2" into a range; raises ValueError."""
    low, colon, high = text.partition(":")
    return float(low), float(high if colon else low)


def _emulator(options: argparse.Namespace) -> Emulator[Any]:
    """Make the vendor; only what it needs is imported, since each start waits for it."""
    common = {name: getattr(options, name) for name in ("host", "public_url", "log_file")}
    common["port"] = PORTS[options.vendor] if options.port is None else options.port
    secret = os.environ.get
    if options.vendor == "replicate":
        from sandbox.paint import Painter
        from sandbox.replicate import emulator as replicate

        return replicate.ReplicateEmulator(
            painter=Painter(options.image_size, distinct_images=options.distinct_images),
            token=secret("REPLICATE_API_TOKEN") or replicate.SANDBOX_TOKEN,
            webhook_secret=secret("REPLICATE_WEBHOOK_SECRET") or replicate.SANDBOX_WEBHOOK_SECRET,
            generation_seconds=options.generation_seconds,
            state_dir=options.state_dir,
            **common,
        )
    if options.vendor == "pinata":
        from sandbox.pinata import emulator as pinata

        return pinata.PinataEmulator(
            store=options.store,
            jwt=secret("PINATA_JWT") or pinata.SANDBOX_JWT,
            api_key=secret("PINATA_API_KEY", ""),
            api_secret=secret("PINATA_API_SECRET", ""),
            pin_seconds=options.pin_seconds,
            **common,
        )
    if options.vendor == "gateway":
        from sandbox.gateway.emulator import GatewayEmulator
        from sandbox.pinata.store import ContentStore

        store = ContentStore(options.store)
        store.pin_placeholder()
        return GatewayEmulator(store=store, token=secret("SANDBOX_GATEWAY_TOKEN", ""), **common)
    from sandbox.alchemy import emulator as alchemy

    signing_key = secret("ALCHEMY_WEBHOOK_SECRET", "").split(",")[0].strip()
    return alchemy.AlchemyEmulator(
        rpc_url=options.rpc_url,
        target=options.target,
        contract=options.contract,
        cursor_file=options.cursor_file,
        signing_key=signing_key or alchemy.SANDBOX_SIGNING_KEY,
        **common,
    )


if __name__ == "__main__":
    sys.exit(main())
