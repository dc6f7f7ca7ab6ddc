"""People of the demo's world: the authors and an operator, made by the program's own commands."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox.demo.cast import CAST
from sandbox.world import World

OPERATOR = "operator"


def seed(world: World) -> str:
    """Take in the authors and make the operator's login; return the password.

    In a world that goes on, both are there already and stay as they are.
    """
    password_file = world.directory / "operator-password"
    with ThreadPoolExecutor(1) as pool:
        authors = pool.submit(onboard_authors, world)
        if not password_file.exists():
            _create_operator(world, password_file)
        authors.result()
    return password_file.read_text()


def onboard_authors(world: World) -> None:
    """Take in the authors of the cast, or bring them up to date."""
    file = world.directory / "authors.json"
    rows = [
        {"wallet": a.wallet, "prompt": a.prompt, "x": a.x, "farcaster": a.farcaster} for a in CAST
    ]
    file.write_text(json.dumps(rows, indent=2, ensure_ascii=False))
    world.manage("onboard_author", "--file", str(file))


def _create_operator(world: World, password_file: Path) -> None:
    password = secrets.token_urlsafe(9)
    world.manage(
        "createsuperuser", "--noinput", "--username", OPERATOR, "--email", "",
        DJANGO_SUPERUSER_PASSWORD=password,
    )  # fmt: skip
    password_file.touch(0o600)
    password_file.write_text(password)
