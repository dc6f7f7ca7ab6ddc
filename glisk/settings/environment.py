"""Where the settings come from: the process environment over a .env file."""

from pathlib import Path

from glisk.config import Environment, read_environment

BASE_DIR = Path(__file__).resolve().parent.parent.parent

env = Environment(read_environment(BASE_DIR / ".env"))
env.also("WORKER_POLL_INTERVAL", "POLL_INTERVAL_SECONDS")
env.also("GAS_STRATEGY", "KEEPER_GAS_STRATEGY")
env.also("REVEAL_GAS_BUFFER_MULTIPLIER", "REVEAL_GAS_BUFFER")
env.also("DEFAULT_AUTHOR_WALLET", "GLISK_DEFAULT_AUTHOR_WALLET")
