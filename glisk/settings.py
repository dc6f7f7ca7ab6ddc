"""Django settings; every value comes from the environment (see .env.example).

The web process and the worker read the same variables. The only difference is the
database connection: psycopg's pool does not survive the forks of the task cluster, so the
worker holds persistent connections instead (GLISK_PROCESS, set by the commands themselves).
"""

import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.templatetags.static import static

from glisk.config import (
    REQUIRED,
    Environment,
    is_allowed_host,
    is_gateway,
    is_host_name,
    is_host_pattern,
    is_origin,
    is_svix_secret,
    read_environment,
)
from glisk.logging import logging_settings
from glisk.prices import is_price, is_price_entry, read_price_table
from glisk.redaction import register_secret

BASE_DIR = Path(__file__).resolve().parent.parent

env = Environment(read_environment(BASE_DIR / ".env"))

# -- Process ----------------------------------------------------------------------------
APP_ENV = env.choice("APP_ENV", "development", ("development", "test", "production"))
PRODUCTION = APP_ENV == "production"
DEBUG = False
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOG_FORMAT = env.choice("LOG_FORMAT", "json" if PRODUCTION else "console", ("console", "json"))
IS_WORKER = "qcluster" in sys.argv[1:2]

SECRET_KEY = env.text("SECRET_KEY", wanted="a random text of at least 50 characters", min_length=50)
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
_ssl_redirect = env.flag("SECURE_SSL_REDIRECT", True)
# Where the vendors reach this server, for completion callbacks; empty: polling only.
PUBLIC_BASE_URL = env.url("PUBLIC_BASE_URL", "")

# -- Database ---------------------------------------------------------------------------
DB_POOL_SIZE = env.integer("DB_POOL_SIZE", 10, low=1, high=200)
EMBEDDED_DATABASE_DIR = Path(
    env.text("EMBEDDED_DATABASE_DIR", str(BASE_DIR / "var" / "postgres"))
).resolve()
_database_url = env.database_url("DATABASE_URL")
EMBEDDED_DATABASE = not _database_url

# -- Chain ------------------------------------------------------------------------------
NETWORK = env.choice("NETWORK", REQUIRED, ("BASE_MAINNET", "BASE_SEPOLIA", "LOCAL"))
CHAIN_ID = {"BASE_MAINNET": 8453, "BASE_SEPOLIA": 84532, "LOCAL": 31337}[NETWORK or "LOCAL"]
EXPLORER_URL = {
    "BASE_MAINNET": "https://basescan.org",
    "BASE_SEPOLIA": "https://sepolia.basescan.org",
    "LOCAL": "",
}[NETWORK or "LOCAL"]
ALCHEMY_API_KEY = env.text("ALCHEMY_API_KEY", "", min_length=10)
RPC_URL = env.url("RPC_URL", "")
if not RPC_URL:
    if ALCHEMY_API_KEY and NETWORK != "LOCAL":
        _host = "base-mainnet" if NETWORK == "BASE_MAINNET" else "base-sepolia"
        RPC_URL = f"https://{_host}.g.alchemy.com/v2/{ALCHEMY_API_KEY}"
    else:
        env.fault("RPC_URL", "is not set and ALCHEMY_API_KEY cannot replace it")
RPC_TIMEOUT_SECONDS = env.number("RPC_TIMEOUT_SECONDS", 10.0, low=0.5, high=120)
ALCHEMY_WEBHOOK_SECRETS = env.texts(
    "ALCHEMY_WEBHOOK_SECRET",
    wanted="signing keys of at least 10 characters",
    each=lambda key: len(key) >= 10,
)
GLISK_NFT_CONTRACT_ADDRESS = env.address("GLISK_NFT_CONTRACT_ADDRESS")
# No mint is older: the backfill begins here.
CONTRACT_DEPLOYED_AT_BLOCK = env.integer(
    "CONTRACT_DEPLOYED_AT_BLOCK",
    {"BASE_MAINNET": 37_432_871, "BASE_SEPOLIA": 32_652_800}.get(NETWORK, 0),
    low=0,
    high=2**40,
)
GLISK_DEFAULT_AUTHOR_WALLET = env.address("GLISK_DEFAULT_AUTHOR_WALLET")
DEFAULT_PROMPT = env.text("DEFAULT_PROMPT", min_length=1, max_length=1000)
MINT_CONFIRMATIONS = env.integer(
    "MINT_CONFIRMATIONS", 1 if NETWORK == "LOCAL" else 2, low=1, high=1000
)

# -- Image generation -------------------------------------------------------------------
REPLICATE_BASE_URL = env.url("REPLICATE_BASE_URL", "https://api.replicate.com")
REPLICATE_API_TOKEN = env.text("REPLICATE_API_TOKEN", min_length=20)
REPLICATE_MODEL_VERSION = env.text("REPLICATE_MODEL_VERSION", "black-forest-labs/flux-schnell")
if not re.fullmatch(r"[\w.-]+/[\w.-]+(:[0-9a-f]{64})?|[0-9a-f]{64}", REPLICATE_MODEL_VERSION):
    env.fault("REPLICATE_MODEL_VERSION", "is not owner/name, owner/name:version or a version")
REPLICATE_WEBHOOK_SECRETS = env.texts(
    "REPLICATE_WEBHOOK_SECRET", [], wanted="keys (whsec_ and base64)", each=is_svix_secret
)
REPLICATE_OUTPUT_HOSTS = env.texts(
    "REPLICATE_OUTPUT_HOSTS",
    ["replicate.delivery", "*.replicate.delivery"],
    wanted="hosts (host, *.host or host:port)",
    each=is_host_pattern,
)
IMAGE_SERVICE = env.choice("IMAGE_SERVICE", "replicate", ("replicate", "selfhosted"))
SELFHOSTED_IMAGE_API_URL = env.url("SELFHOSTED_IMAGE_API_URL", "")
if IMAGE_SERVICE == "selfhosted" and not SELFHOSTED_IMAGE_API_URL:
    env.fault("SELFHOSTED_IMAGE_API_URL", "is not set although IMAGE_SERVICE is selfhosted")
SELFHOSTED_IMAGE_API_TOKEN = env.text("SELFHOSTED_IMAGE_API_TOKEN", "", min_length=10)
SELFHOSTED_MODEL = env.text("SELFHOSTED_MODEL", "selfhosted", min_length=1, max_length=200)
SELFHOSTED_CONCURRENCY = env.integer("SELFHOSTED_CONCURRENCY", 1, low=1, high=200)
SELFHOSTED_PRICE_USD = env.text("SELFHOSTED_PRICE_USD", "0")
if not is_price(SELFHOSTED_PRICE_USD):
    env.fault("SELFHOSTED_PRICE_USD", "is not a price (0.002 an image, or 0.0002/s)")
FALLBACK_CENSORED_PROMPT = env.text(
    "FALLBACK_CENSORED_PROMPT",
    "A serene abstract landscape of soft colours and gentle light",
    min_length=1,
    max_length=1000,
)
# US dollars for a model that REPLICATE_PRICES does not name.
GENERATION_COST_USD = env.number("GENERATION_COST_USD", 0.003, low=0, high=100)
_prices = env.texts(
    "REPLICATE_PRICES",
    ["black-forest-labs/flux-schnell=0.003", "black-forest-labs/flux-dev=0.025"],
    wanted="prices (owner/name=0.003 an image, or =0.000725/s)",
    each=is_price_entry,
)
REPLICATE_PRICES = read_price_table(entry for entry in _prices if is_price_entry(entry))
DAILY_SPEND_CAP_USD = env.number("DAILY_SPEND_CAP_USD", 0, low=0, high=1_000_000)
GENERATION_PAUSE_AFTER_WASTED = env.integer("GENERATION_PAUSE_AFTER_WASTED", 10, low=0, high=1000)
REPLICATE_PREDICTIONS_PER_MINUTE = env.integer(
    "REPLICATE_PREDICTIONS_PER_MINUTE", 600, low=0, high=1_000_000
)
GENERATION_MAX_ATTEMPTS = env.integer("GENERATION_MAX_ATTEMPTS", 3, low=1, high=20)
GENERATION_TIMEOUT_SECONDS = env.number("GENERATION_TIMEOUT_SECONDS", 300, low=1, high=1800)
IMAGE_MAX_BYTES = env.integer("IMAGE_MAX_BYTES", 20_000_000, low=1000, high=100_000_000)

# -- Storage ----------------------------------------------------------------------------
PINATA_API_URL = env.url("PINATA_API_URL", "https://api.pinata.cloud")
PINATA_JWT = env.text("PINATA_JWT", "", min_length=10)
PINATA_API_KEY = env.text("PINATA_API_KEY", "")
PINATA_API_SECRET = env.text("PINATA_API_SECRET", "")
if not PINATA_JWT and not (PINATA_API_KEY and PINATA_API_SECRET):
    env.fault("PINATA_JWT", "is not set, nor are PINATA_API_KEY and PINATA_API_SECRET")
# Pinata's free plan allows 60 requests a minute; an emulator has no such limit.
PINATA_REQUESTS_PER_MINUTE = env.integer(
    "PINATA_REQUESTS_PER_MINUTE", 0 if NETWORK == "LOCAL" else 60, low=0, high=1_000_000
)
if PINATA_REQUESTS_PER_MINUTE == 1:
    env.fault("PINATA_REQUESTS_PER_MINUTE", "is 1; a token needs two requests at once")
PINATA_GATEWAY = env.texts("PINATA_GATEWAY", wanted="hosts or URLs", each=is_gateway)
PINATA_GATEWAY_TOKEN = env.text("PINATA_GATEWAY_TOKEN", "")
SEASON = env.integer("SEASON", 0, low=0, high=1000)
COLLECTION_NAME = env.text("COLLECTION_NAME", "GLISK", min_length=1, max_length=50)
METADATA_DESCRIPTION = env.text(
    "METADATA_DESCRIPTION", f"GLISK Season {SEASON}. https://x.com/getglisk", max_length=1000
)
IMAGE_RETENTION_DAYS = env.number("IMAGE_RETENTION_DAYS", 3, low=1, high=3650)
IMAGE_CID_VERSION = env.integer("IMAGE_CID_VERSION", 1, low=0, high=1)
METADATA_CID_VERSION = env.integer("METADATA_CID_VERSION", 0, low=0, high=1)

# -- Reveal -----------------------------------------------------------------------------
ENABLE_IMAGE_WORKER = env.flag("ENABLE_IMAGE_WORKER", True)
ENABLE_IPFS_WORKER = env.flag("ENABLE_IPFS_WORKER", True)
ENABLE_REVEAL_WORKER = env.flag("ENABLE_REVEAL_WORKER", True)
KEEPER_PRIVATE_KEY = env.private_key("KEEPER_PRIVATE_KEY") if ENABLE_REVEAL_WORKER else ""
KEEPER_GAS_STRATEGY = env.choice("KEEPER_GAS_STRATEGY", "medium", ("slow", "medium", "fast"))
REVEAL_GAS_BUFFER = env.number("REVEAL_GAS_BUFFER", 1.2, low=1.0, high=3.0)
REVEAL_MAX_GAS_PRICE_GWEI = env.number("REVEAL_MAX_GAS_PRICE_GWEI", 1.0, low=0.000001, high=10_000)
# The chain's least base fee (Base mainnet since 19 Feb 2026). An offer is twice the base fee and
# a tip: under a ceiling near the floor every reveal would wait for ever.
_least_base_fee_gwei = {"BASE_MAINNET": 0.005, "BASE_SEPOLIA": 0.0002}.get(NETWORK, 0.0)
if 4 * _least_base_fee_gwei > REVEAL_MAX_GAS_PRICE_GWEI:
    env.fault(
        "REVEAL_MAX_GAS_PRICE_GWEI",
        f"is below {4 * _least_base_fee_gwei:g}, four times the chain's least base fee: "
        "no reveal would ever be sent",
    )
# Below so many reveals that the keeper's balance pays for, it warns.
KEEPER_LOW_REVEALS = env.integer("KEEPER_LOW_REVEALS", 500, low=0, high=10_000_000)
REVEAL_MAX_IN_FLIGHT = env.integer("REVEAL_MAX_IN_FLIGHT", 4, low=1, high=16)
TRANSACTION_TIMEOUT_SECONDS = env.number("TRANSACTION_TIMEOUT_SECONDS", 180, low=1, high=86_400)
REVEAL_CONFIRMATIONS = env.integer("REVEAL_CONFIRMATIONS", 1, low=1, high=1000)
REVEAL_SAFE_CONFIRMATIONS = env.integer("REVEAL_SAFE_CONFIRMATIONS", 64, low=1, high=10_000)
BATCH_REVEAL_WAIT_SECONDS = env.number("BATCH_REVEAL_WAIT_SECONDS", 5.0, low=0, high=3600)
BATCH_REVEAL_MAX_TOKENS = env.integer("BATCH_REVEAL_MAX_TOKENS", 50, low=1, high=120)

# -- Marketplace ------------------------------------------------------------------------
OPENSEA_API_KEY = env.text("OPENSEA_API_KEY", "")
OPENSEA_API_URL = env.url("OPENSEA_API_URL", "https://api.opensea.io")
OPENSEA_REQUESTS_PER_MINUTE = env.integer("OPENSEA_REQUESTS_PER_MINUTE", 120, low=1, high=6000)

# -- Worker -----------------------------------------------------------------------------
POLL_INTERVAL_SECONDS = env.number("POLL_INTERVAL_SECONDS", 5.0, low=1, high=3600)
WORKER_BATCH_SIZE = env.integer("WORKER_BATCH_SIZE", 10, low=1, high=200)
UPLOAD_CONCURRENCY = env.integer("UPLOAD_CONCURRENCY", 10, low=1, high=200)
# Pipeline drains that run at once over all machines; each works on WORKER_BATCH_SIZE images.
PIPELINE_SLOTS = env.integer("PIPELINE_SLOTS", 1, low=1, high=64)
LEASE_SECONDS = env.number("LEASE_SECONDS", 60, low=5, high=3600)
DRAIN_BUDGET_SECONDS = env.number("DRAIN_BUDGET_SECONDS", 300, low=1, high=3600)
SHUTDOWN_GRACE_SECONDS = env.number("SHUTDOWN_GRACE_SECONDS", 25, low=1, high=600)
HTTP_CONNECT_TIMEOUT_SECONDS = env.number("HTTP_CONNECT_TIMEOUT_SECONDS", 5, low=0.1, high=60)
HTTP_READ_TIMEOUT_SECONDS = env.number("HTTP_READ_TIMEOUT_SECONDS", 30, low=0.1, high=300)
HTTP_POOL_SIZE = env.integer("HTTP_POOL_SIZE", 64, low=1, high=1000)

# -- Webhooks ---------------------------------------------------------------------------
WEBHOOK_MAX_BYTES = env.integer("WEBHOOK_MAX_BYTES", 5_000_000, low=10_000, high=50_000_000)
ALCHEMY_DUPLICATE_STATUS = int(env.choice("ALCHEMY_DUPLICATE_STATUS", "200", ("200", "409")))
DATA_UPLOAD_MAX_MEMORY_SIZE = WEBHOOK_MAX_BYTES

# -- Authors ----------------------------------------------------------------------------
FRONTEND_URL = env.url("FRONTEND_URL", REQUIRED if PRODUCTION else "http://localhost:3000")
# What a wallet shows as the asking site; the authority of FRONTEND_URL unless set.
SIGN_IN_DOMAIN = env.text("SIGN_IN_DOMAIN", urlsplit(FRONTEND_URL).netloc)
if SIGN_IN_DOMAIN and not is_host_pattern(SIGN_IN_DOMAIN):
    env.fault("SIGN_IN_DOMAIN", "is not a host name, or host:port")
SIGN_IN_SECONDS = env.integer("SIGN_IN_SECONDS", 600, low=30, high=86_400)
LEGACY_SIGNATURES = env.flag("LEGACY_SIGNATURES", True)
# Without a client id X accounts cannot be linked.
X_CLIENT_ID = env.text("X_CLIENT_ID", "")
X_CLIENT_SECRET = env.text("X_CLIENT_SECRET", "", min_length=8)
X_REDIRECT_URI = env.url("X_REDIRECT_URI", f"{FRONTEND_URL}/api/authors/x/callback")
X_AUTHORIZE_URL = env.url("X_AUTHORIZE_URL", "https://x.com/i/oauth2/authorize")
X_API_URL = env.url("X_API_URL", "https://api.x.com")
LINK_TIMEOUT_SECONDS = env.number("LINK_TIMEOUT_SECONDS", 10, low=0.1, high=60)
X_SAME_BROWSER = env.flag("X_SAME_BROWSER", True)
# Without a node of Optimism Farcaster accounts cannot be linked.
OPTIMISM_RPC_URL = env.url("OPTIMISM_RPC_URL", "")
FARCASTER_NAME_URL = env.url("FARCASTER_NAME_URL", "https://fnames.farcaster.xyz")
SIGNED_REQUESTS_PER_MINUTE = env.integer("SIGNED_REQUESTS_PER_MINUTE", 120, low=0, high=100_000)
CHANGES_PER_HOUR = env.integer("CHANGES_PER_HOUR", 60, low=0, high=100_000)
OPERATIONS_REQUESTS_PER_MINUTE = env.integer(
    "OPERATIONS_REQUESTS_PER_MINUTE", 120, low=0, high=100_000
)
TRUSTED_PROXIES = env.integer("TRUSTED_PROXIES", 0, low=0, high=10)

for _secret in (
    SECRET_KEY,
    ALCHEMY_API_KEY,
    *ALCHEMY_WEBHOOK_SECRETS,
    REPLICATE_API_TOKEN,
    *REPLICATE_WEBHOOK_SECRETS,
    SELFHOSTED_IMAGE_API_TOKEN,
    PINATA_JWT,
    PINATA_API_KEY,
    PINATA_API_SECRET,
    PINATA_GATEWAY_TOKEN,
    OPENSEA_API_KEY,
    X_CLIENT_SECRET,
    KEEPER_PRIVATE_KEY,
    KEEPER_PRIVATE_KEY.removeprefix("0x"),
):
    if _secret:
        register_secret(_secret)

env.finish()

# -- Django -----------------------------------------------------------------------------
INSTALLED_APPS = [
    # Before django_q: its qcluster command replaces django-q2's.
    "glisk.apps.GliskConfig",
    "unfold",
    "unfold.contrib.import_export",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "import_export",
    "knox",
    "django_q",
    "authors",
    "tokens",
    "reveals",
    "webhooks",
]
MIDDLEWARE = [
    "glisk.middleware.RequestContextMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "glisk.urls"
WSGI_APPLICATION = "glisk.wsgi.application"
APPEND_SLASH = False  # a redirect would turn the frontend's POSTs into GETs
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "glisk" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def _database() -> dict[str, Any]:
    from glisk.database import database_settings

    return database_settings(
        url=_database_url,
        embedded_dir=EMBEDDED_DATABASE_DIR,
        pool_size=None if IS_WORKER or "pytest" in sys.modules else DB_POOL_SIZE,
    )


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
DATETIME_FORMAT = "Y-m-d H:i:s"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Outside production files come from where they lie, without collectstatic.
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = not PRODUCTION
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["glisk.api_parser.BoundedJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "glisk.negotiation.AlwaysJSON",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "glisk.api.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "NUM_PROXIES": TRUSTED_PROXIES,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "GLISK",
    "DESCRIPTION": "Blind-box NFT reveals: what the frontend and the vendors talk to.",
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    # In the order of the pages: what frontends use comes first.
    "TAGS": [
        {"name": name, "description": text}
        for name, text in (
            ("authors", "Prompt authors, and what they do by their wallets' signatures."),
            ("mints", "For buyers who wait: their tokens, places in line, live streams."),
            ("tokens", "Every token, by minter, author and state."),
            ("health", "For probes and monitors; no foreign machine is asked."),
            ("operations", "For scripts of the staff, with a token of `create_api_token`."),
            ("webhooks", "What the vendors call."),
        )
    ],
    "ENUM_NAME_OVERRIDES": {"TokenStatus": "tokens.states.TokenStatus"},
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# Tokens of the operations API: only a digest is stored (glisk/operations.py).
REST_KNOX = {"TOKEN_PREFIX": "glisk_", "TOKEN_TTL": timedelta(days=90)}

# CSV of authors: its own permissions (glisk/permissions.py), all rows or none.
IMPORT_EXPORT_IMPORT_PERMISSION_CODE = "import"
IMPORT_EXPORT_EXPORT_PERMISSION_CODE = "export"
IMPORT_EXPORT_USE_TRANSACTIONS = True

UNFOLD = {
    "SITE_TITLE": "GLISK",
    "SITE_HEADER": "GLISK",
    "SITE_SUBHEADER": f"NFT reveals on {NETWORK}",
    "SITE_SYMBOL": "deployed_code",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("glisk/favicon.svg"),
        }
    ],
    "ENVIRONMENT": "glisk.navigation.network_label",
    "DASHBOARD_CALLBACK": "glisk.dashboard.dashboard_context",
    "STYLES": [lambda request: static("glisk/admin.css")],
    "SIDEBAR": {"navigation": "glisk.navigation.sidebar"},
    "SHOW_HISTORY": True,
}

# django-q2 as docs/adr/0002-engine.md explains: long-lived drains, no retries by the queue,
# no saved successes, schedules run by our own supervisor.
Q_CLUSTER = {
    "name": "glisk",
    "orm": "default",
    "broker_class": "glisk.engine.broker.ListeningBroker",
    "workers": 4,
    "queue_limit": 4,
    "bulk": 1,
    "poll": 5,  # the broker is woken by notifications; this is the net below
    "guard_cycle": 5,  # deaths are noticed at once; this counts the timeouts down
    "timeout": int(DRAIN_BUDGET_SECONDS) + 300,
    "retry": int(DRAIN_BUDGET_SECONDS) + 600,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "catch_up": False,
    "recycle": 200,
    "scheduler": False,
    "ALT_CLUSTERS": {},
    "label": "Task queue",
}

if PRODUCTION:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = _ssl_redirect
    SECURE_REDIRECT_EXEMPT = [r"^health"]  # probed inside the network, without TLS
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

LOGGING = logging_settings(level=LOG_LEVEL, json=LOG_FORMAT == "json")
