"""Where the settings come from, and the processes: web server, database, worker."""

import sys
from importlib.util import find_spec
from pathlib import Path

from glisk.config import REQUIRED, Environment
from glisk.config.env_file import read_environment
from glisk.config.formats import is_allowed_host, is_host_name, is_http_url, is_origin

BASE_DIR = Path(__file__).resolve().parent.parent.parent

env = Environment(read_environment(BASE_DIR / ".env"))
env.also("WORKER_POLL_INTERVAL", "POLL_INTERVAL_SECONDS")
env.also("GAS_STRATEGY", "KEEPER_GAS_STRATEGY")
env.also("REVEAL_GAS_BUFFER_MULTIPLIER", "REVEAL_GAS_BUFFER")
env.also("DEFAULT_AUTHOR_WALLET", "GLISK_DEFAULT_AUTHOR_WALLET")
env.also("COMPOSE_DATABASE_URL", "DATABASE_URL")

APP_ENV = env.choice("APP_ENV", "development", ("development", "test", "production"))
PRODUCTION = APP_ENV == "production"
DEBUG = False
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOG_FORMAT = env.choice("LOG_FORMAT", "json" if PRODUCTION else "console", ("console", "json"))
# Errors of the log are reported there; empty: nowhere.
SENTRY_DSN = env.secret("SENTRY_DSN", "", wanted="a DSN (https://key@host/project)")
if SENTRY_DSN and not is_http_url(SENTRY_DSN):
    env.fault("SENTRY_DSN", "is not a DSN (https://key@host/project)")
elif SENTRY_DSN and find_spec("sentry_sdk") is None:
    env.fault("SENTRY_DSN", "needs the package sentry-sdk, which is not installed")
IS_COMMAND = Path(sys.argv[0]).name == "manage.py"

SECRET_KEY = env.secret(
    "SECRET_KEY", wanted="a random text of at least 50 characters", min_length=50
)
ALLOWED_HOSTS = env.texts(
    "ALLOWED_HOSTS",
    REQUIRED if PRODUCTION else ["localhost", "127.0.0.1"],
    wanted="host names without scheme and port",
    each=is_allowed_host,
)
_ORIGINS = "origins (https://host, no path)"
CORS_ALLOWED_ORIGINS = env.texts("CORS_ORIGINS", [], wanted=_ORIGINS, each=is_origin)
CORS_EXPOSE_HEADERS = ["Retry-After", "X-Request-Id"]
CSRF_TRUSTED_ORIGINS = env.texts("CSRF_TRUSTED_ORIGINS", [], wanted=_ORIGINS, each=is_origin)
HOST = env.text("HOST", "127.0.0.1")
if not is_host_name(HOST) and ":" not in HOST:  # the latter: IPv6
    env.fault("HOST", "is not an address or a host name")
PORT = env.integer("PORT", 8000, low=1, high=65535)
WEB_WORKERS = env.integer("WEB_WORKERS", 2, low=1, high=64)
WEB_THREADS = env.integer("WEB_THREADS", 8, low=1, high=256)
WEB_STREAMS = env.integer("WEB_STREAMS", 64, low=0, high=1000)
ssl_redirect = env.flag("SECURE_SSL_REDIRECT", True)
hsts_include_subdomains = env.flag("SECURE_HSTS_INCLUDE_SUBDOMAINS", False)
hsts_preload = env.flag("SECURE_HSTS_PRELOAD", False)
if hsts_preload and not hsts_include_subdomains:
    env.fault(
        "SECURE_HSTS_PRELOAD",
        "is true without SECURE_HSTS_INCLUDE_SUBDOMAINS; the browsers' list takes no such domain",
    )
# Where the vendors reach this server, for completion callbacks; empty: polling only.
PUBLIC_BASE_URL = env.url("PUBLIC_BASE_URL", "")

# -- Database ---------------------------------------------------------------------------
DB_POOL_SIZE = env.integer("DB_POOL_SIZE", 10, low=1, high=200)
EMBEDDED_DATABASE_DIR = Path(
    env.text("EMBEDDED_DATABASE_DIR", str(BASE_DIR / "var" / "postgres"))
).resolve()
database_url = env.database_url("DATABASE_URL")
EMBEDDED_DATABASE = not database_url

# -- Worker -----------------------------------------------------------------------------
ENABLE_IMAGE_WORKER = env.flag("ENABLE_IMAGE_WORKER", True)
ENABLE_IPFS_WORKER = env.flag("ENABLE_IPFS_WORKER", True)
ENABLE_REVEAL_WORKER = env.flag("ENABLE_REVEAL_WORKER", True)
POLL_INTERVAL_SECONDS = env.number("POLL_INTERVAL_SECONDS", 5.0, low=0.1, high=3600)
WORKER_BATCH_SIZE = env.integer("WORKER_BATCH_SIZE", 10, low=1, high=200)
UPLOAD_CONCURRENCY = env.integer("UPLOAD_CONCURRENCY", 10, low=1, high=200)
# A token that is in one state for longer makes no progress: an operator is told.
STUCK_AFTER_SECONDS = env.number("STUCK_AFTER_SECONDS", 120, low=1, high=86_400)
LEASE_SECONDS = env.number("LEASE_SECONDS", 60, low=5, high=3600)
DRAIN_BUDGET_SECONDS = env.number("DRAIN_BUDGET_SECONDS", 300, low=1, high=3600)
SHUTDOWN_GRACE_SECONDS = env.number("SHUTDOWN_GRACE_SECONDS", 25, low=1, high=600)
HTTP_CONNECT_TIMEOUT_SECONDS = env.number("HTTP_CONNECT_TIMEOUT_SECONDS", 5, low=0.1, high=60)
HTTP_READ_TIMEOUT_SECONDS = env.number("HTTP_READ_TIMEOUT_SECONDS", 30, low=0.1, high=300)
HTTP_POOL_SIZE = env.integer("HTTP_POOL_SIZE", 64, low=1, high=1000)
