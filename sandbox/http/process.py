"""Run an emulator as a process: options, signals, and dying with its parent."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from glisk.engine.process import die_with
from sandbox.http.emulator import Emulator


def base_parser(name: str, *, port: int) -> argparse.ArgumentParser:
    """Build a parser with the options that every emulator has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m sandbox.{name}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=port, help="port to listen on; 0 is a free one")
    parser.add_argument(
        "--public-url", default="", help="address clients use, where it differs from host and port"
    )
    parser.add_argument("--log-file", type=Path, help="append every call here as a JSON line")
    return parser


def seconds_range(text: str) -> tuple[float, float]:
    """Parse "1.5" or "0.5:2" into a range; raises ValueError."""
    low, colon, high = text.partition(":")
    limits = (float(low), float(high) if colon else float(low))
    if not 0 <= limits[0] <= limits[1]:
        raise ValueError(f"not a range: {text}")
    return limits


def run(emulator: Emulator[Any]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
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
