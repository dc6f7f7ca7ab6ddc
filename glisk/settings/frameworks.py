"""Django and what stands on it, set up by what the environment says.

Read when the environment is known to be right: an embedded database is started here.
"""

import sys
from datetime import timedelta

from django.templatetags.static import static
from django.urls import reverse_lazy

from glisk import __version__
from glisk.database import database_settings
from glisk.logging import logging_settings
from glisk.settings.chain import NETWORK
from glisk.settings.images import GENERATION_TIMEOUT_SECONDS, SELFHOSTED_IMAGE_API_URL
from glisk.settings.processes import (
    BASE_DIR,
    DB_POOL_SIZE,
    DRAIN_BUDGET_SECONDS,
    EMBEDDED_DATABASE_DIR,
    HTTP_READ_TIMEOUT_SECONDS,
    IS_COMMAND,
    LOG_FORMAT,
    LOG_LEVEL,
    PRODUCTION,
    SENTRY_DSN,
    database_url,
    hsts_include_subdomains,
    hsts_preload,
    ssl_redirect,
)
from glisk.settings.visitors import LOGIN_ATTEMPTS, LOGIN_LOCKOUT_SECONDS, SESSION_IDLE_SECONDS

INSTALLED_APPS = [
    # Before django_q: its qcluster command replaces django-q2's.
    "glisk.apps.GliskConfig",
    "glisk.console",
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
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "authors",
    "tokens",
    "reveals",
    "webhooks",
]
MIDDLEWARE = [
    "glisk.web.RequestContextMiddleware",
    "glisk.security.middleware.ContentPolicyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "glisk.web.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "glisk.security.middleware.StaffSessionMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    # The last: it replaces the answer to a login that is locked out.
    "axes.middleware.AxesMiddleware",
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


DATABASES = {
    "default": database_settings(
        url=database_url,
        embedded_dir=EMBEDDED_DATABASE_DIR,
        pool_size=None if IS_COMMAND or "pytest" in sys.modules else DB_POOL_SIZE,
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The admin's login page goes here when it was not asked for another page.
LOGIN_REDIRECT_URL = "admin:index"
AUTHENTICATION_BACKENDS = [
    "glisk.security.lockout.LoginBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": name}
    for name in (
        "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "glisk.security.lockout.LengthValidator",
        "django.contrib.auth.password_validation.CommonPasswordValidator",
        "django.contrib.auth.password_validation.NumericPasswordValidator",
    )
]
SESSION_COOKIE_AGE = SESSION_IDLE_SECONDS

# Wrong passwords, counted in the database (glisk/security/lockout.py).
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "glisk.security.lockout.counted_address"
AXES_LOCKOUT_CALLABLE = "glisk.security.lockout.refuse_locked_out"
AXES_FAILURE_LIMIT = LOGIN_ATTEMPTS
AXES_COOLOFF_TIME = timedelta(seconds=LOGIN_LOCKOUT_SECONDS)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # a lockout ends when it said it would
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
OTP_TOTP_ISSUER = "GLISK"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
FORMAT_MODULE_PATH = "glisk.formats"
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
    "DEFAULT_PARSER_CLASSES": ["glisk.api.json.BoundedJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "glisk.api.json.AlwaysJSON",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "glisk.api.exceptions.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "GLISK",
    "DESCRIPTION": "Blind-box NFT reveals: what the frontend and the vendors talk to.",
    "VERSION": __version__,
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
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "glisk.api.schema.complete_answers",
    ],
    "ENUM_NAME_OVERRIDES": {"TokenStatus": "tokens.states.TokenStatus"},
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# Tokens of the operations API: only a digest is stored (glisk/api/views.py).
REST_KNOX = {"TOKEN_PREFIX": "glisk_", "TOKEN_TTL": timedelta(days=90)}

# CSV of authors: its own permissions (glisk/permissions.py), all rows or none.
IMPORT_EXPORT_IMPORT_PERMISSION_CODE = "import"
IMPORT_EXPORT_EXPORT_PERMISSION_CODE = "export"
IMPORT_EXPORT_USE_TRANSACTIONS = True

UNFOLD = {
    "SITE_TITLE": "GLISK",
    "SITE_HEADER": "GLISK",
    "SITE_SUBHEADER": f"{__version__} on {NETWORK}",
    "SITE_SYMBOL": "deployed_code",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("glisk/favicon.svg"),
        }
    ],
    "DASHBOARD_CALLBACK": "glisk.console.dashboard.dashboard_context",
    "STYLES": [
        lambda request: static("glisk/admin.css"),
        lambda request: static("glisk/lists.css"),
    ],
    "SCRIPTS": [lambda request: static("glisk/admin.js")],
    "SIDEBAR": {"navigation": "glisk.console.navigation.sidebar"},
    "SHOW_HISTORY": True,
    "ACCOUNT": {
        "navigation": [
            {"title": "Second factor", "link": reverse_lazy("second-factor")},
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
        ]
    },
}

# django-q2 as docs/adr/0002-engine.md explains: long-lived drains, no retries by the queue,
# no saved successes, schedules run by our own supervisor.
# The longest call that a drain may have to see to its end when its budget is used up: a
# self-hosted server answers with the image.
_longest_call_seconds = max(
    HTTP_READ_TIMEOUT_SECONDS, GENERATION_TIMEOUT_SECONDS if SELFHOSTED_IMAGE_API_URL else 0
)
_longest_task_seconds = int(DRAIN_BUDGET_SECONDS + _longest_call_seconds) + 300
Q_CLUSTER = {
    "name": "glisk",
    "orm": "default",
    "broker_class": "glisk.engine.broker.ListeningBroker",
    "workers": 5,
    "queue_limit": 4,
    "bulk": 1,
    "poll": 5,  # the broker is woken by notifications; this is the net below
    "guard_cycle": 5,  # deaths are noticed at once; this counts the timeouts down
    "timeout": _longest_task_seconds,
    "retry": _longest_task_seconds + 300,
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
    SECURE_SSL_REDIRECT = ssl_redirect
    # What is off by choice: a proxy may redirect by itself; other hosts of the domain, which we do
    # not know, may have no HTTPS; and it takes months to leave the browsers' list.
    _chosen = {
        "security.W008": ssl_redirect,
        "security.W005": hsts_include_subdomains,
        "security.W021": hsts_preload,
    }
    SILENCED_SYSTEM_CHECKS = [check for check, is_on in _chosen.items() if not is_on]
    SECURE_REDIRECT_EXEMPT = [r"^health", r"^metrics$"]  # probed inside the network, without TLS
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = hsts_include_subdomains
    SECURE_HSTS_PRELOAD = hsts_preload
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

LOGGING = logging_settings(
    level=LOG_LEVEL,
    json=LOG_FORMAT == "json",
    sentry={"dsn": SENTRY_DSN, "environment": NETWORK} if SENTRY_DSN else None,
)
