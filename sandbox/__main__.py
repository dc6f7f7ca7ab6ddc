"""Run a local world until Ctrl-C, on the ports and with the keys that .env names: `make sandbox`.

python -m sandbox --apps     with the web server and a worker
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from glisk.config import ConfigurationError
from sandbox.anvil import AnvilInstallError
from sandbox.ports import NAMES, Ports, own_keys
from sandbox.services import ServiceError
from sandbox.world import BASE_DIR, DirectoryInUse, World, WorldOptions, claimed, reset_directory

_NEW_CHAIN = (
    "The chain is new. A database that knows the old one does not fit it: end web and worker, "
    "empty it by `.venv/bin/python manage.py flush`, start them again."
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sandbox", description=__doc__)
    parser.add_argument("--directory", type=Path, default=BASE_DIR / "var" / "sandbox")
    parser.add_argument("--block-time", type=float, default=2.0, help="seconds (default 2)")
    parser.add_argument("--generation-seconds", default="1.0", help="seconds, or LOW:HIGH")
    parser.add_argument("--pin-seconds", default="0.2", help="seconds, or LOW:HIGH")
    parser.add_argument("--apps", action="store_true", help="start web server and worker too")
    parser.add_argument("--fresh", action="store_true", help="forget the chain of the last run")
    chosen = parser.parse_args()
    options = WorldOptions(
        block_time=chosen.block_time,
        generation_seconds=chosen.generation_seconds,
        pin_seconds=chosen.pin_seconds,
        env=own_keys(),
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with claimed(chosen.directory):
            if chosen.fresh:
                reset_directory(chosen.directory)
            ports = Ports.from_environment()
            world = World(chosen.directory, ports=ports, options=options)
            _serve(world, apps=chosen.apps, fresh=chosen.fresh)
    except KeyboardInterrupt:
        return 0
    except DirectoryInUse as error:
        print(f"Another world runs in {error}.", file=sys.stderr)
    except (AnvilInstallError, ConfigurationError, ServiceError, RuntimeError) as error:
        print(error, file=sys.stderr)
    return 1


def _serve(world: World, *, apps: bool, fresh: bool) -> None:
    with world:
        try:
            world.start_vendors()
            if apps:
                world.start_apps()
            world.watch()
            for name in NAMES[: None if apps else -1]:
                print(f"{name:10} {world.ports.url(name)}")
            print(f"{'contract':10} {world.chain.contract.address}")
            if fresh and not apps:
                print(_NEW_CHAIN)
            print("make mint mints, make rehearse lets something fail. Ctrl-C ends it.", flush=True)
            threading.Event().wait()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C would leave half of it


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
