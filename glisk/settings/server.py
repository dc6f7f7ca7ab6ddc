"""The processes: how they log, whom they answer, which database they share."""

import sys
from pathlib import Path

from glisk.config import REQUIRED, is_allowed_host, is_host_name, is_origin
from glisk.settings.environment import BASE_DIR, env

APP_ENV = env.choice("APP_ENV", "development", ("development", "test", "production"))
PRODUCTION = APP_ENV == "production"
DEBUG = False
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOG_FORMAT = env.choice("LOG_FORMAT", "json" if PRODUCTION else "console", ("console", "json"))
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
# Where the vendors reach this server, for completion callbacks; empty: polling only.
PUBLIC_BASE_URL = env.url("PUBLIC_BASE_URL", "")

# -- Database ---------------------------------------------------------------------------
DB_POOL_SIZE = env.integer("DB_POOL_SIZE", 10, low=1, high=200)
EMBEDDED_DATABASE_DIR = Path(
    env.text("EMBEDDED_DATABASE_DIR", str(BASE_DIR / "var" / "postgres"))
).resolve()
database_url = env.database_url("DATABASE_URL")
EMBEDDED_DATABASE = not database_url
