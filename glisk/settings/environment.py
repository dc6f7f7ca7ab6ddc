"""Where the settings come from: the process environment over a .env file."""

from pathlib import Path

from glisk.config import Environment, read_environment

BASE_DIR = Path(__file__).resolve().parent.parent.parent

env = Environment(read_environment(BASE_DIR / ".env"))
