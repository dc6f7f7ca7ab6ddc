"""Who calls us: the vendors' webhooks, the frontend, authors and their accounts, the staff."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from glisk.config import REQUIRED
from glisk.config.formats import is_host_pattern, is_network
from glisk.settings.processes import BASE_DIR, PRODUCTION, env

WEBHOOK_MAX_BYTES = env.integer("WEBHOOK_MAX_BYTES", 5_000_000, low=10_000, high=50_000_000)
WEBHOOK_RETENTION_DAYS = env.number("WEBHOOK_RETENTION_DAYS", 30, low=1, high=3650)
ALCHEMY_DUPLICATE_STATUS = int(env.choice("ALCHEMY_DUPLICATE_STATUS", "200", ("200", "409")))
DATA_UPLOAD_MAX_MEMORY_SIZE = WEBHOOK_MAX_BYTES

# -- The staff --------------------------------------------------------------------------
# Of whoever may do more than look (glisk/permissions.py).
SECOND_FACTOR_REQUIRED = env.flag("SECOND_FACTOR_REQUIRED", PRODUCTION)
LOGIN_ATTEMPTS = env.integer("LOGIN_ATTEMPTS", 5, low=1, high=100)
LOGIN_LOCKOUT_SECONDS = env.integer("LOGIN_LOCKOUT_SECONDS", 900, low=1, high=86_400)
SESSION_IDLE_SECONDS = env.integer(
    "SESSION_IDLE_SECONDS", 3600 if PRODUCTION else 43_200, low=60, high=2_592_000
)
SESSION_MAX_SECONDS = env.integer("SESSION_MAX_SECONDS", 43_200, low=60, high=2_592_000)

# -- Authors ----------------------------------------------------------------------------
FRONTEND_URL = env.url("FRONTEND_URL", REQUIRED if PRODUCTION else "http://localhost:3000")
# The sites that wallets may show as the asking one; that of FRONTEND_URL unless set.
SIGN_IN_DOMAIN = [
    site.lower()
    for site in env.texts(
        "SIGN_IN_DOMAIN",
        [urlsplit(FRONTEND_URL).netloc],
        wanted="sites (host, host:port or *.host)",
        each=is_host_pattern,
    )
]
if SIGN_IN_DOMAIN[:1] and SIGN_IN_DOMAIN[0].startswith("*"):
    env.fault("SIGN_IN_DOMAIN", "begins with a pattern; the first site must be a whole name")
SIGN_IN_SECONDS = env.integer("SIGN_IN_SECONDS", 600, low=30, high=86_400)
LEGACY_SIGNATURES = env.flag("LEGACY_SIGNATURES", True)
# Without a client id X accounts cannot be linked.
X_CLIENT_ID = env.text("X_CLIENT_ID", "")
X_CLIENT_SECRET = env.secret("X_CLIENT_SECRET", "", min_length=8)
X_REDIRECT_URI = env.url("X_REDIRECT_URI", f"{FRONTEND_URL}/api/authors/x/callback")
X_AUTHORIZE_URL = env.url("X_AUTHORIZE_URL", "https://x.com/i/oauth2/authorize")
X_API_URL = env.url("X_API_URL", "https://api.x.com")
LINK_TIMEOUT_SECONDS = env.number("LINK_TIMEOUT_SECONDS", 10, low=0.1, high=60)
X_SAME_BROWSER = env.flag("X_SAME_BROWSER", True)
# Without a node of Optimism Farcaster accounts cannot be linked.
OPTIMISM_RPC_URL = env.secret_url("OPTIMISM_RPC_URL", "")
FARCASTER_NAME_URL = env.url("FARCASTER_NAME_URL", "https://fnames.farcaster.xyz")
SIGNED_REQUESTS_PER_MINUTE = env.integer("SIGNED_REQUESTS_PER_MINUTE", 120, low=0, high=100_000)
CHANGES_PER_HOUR = env.integer("CHANGES_PER_HOUR", 60, low=0, high=100_000)
OPERATIONS_REQUESTS_PER_MINUTE = env.integer(
    "OPERATIONS_REQUESTS_PER_MINUTE", 120, low=0, high=100_000
)
_NETWORKS: Any = {"wanted": "addresses and networks (10.0.0.0/8)", "each": is_network}


def _networks(given: list[str]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(network) for network in given if is_network(network)]


TRUSTED_PROXIES = _networks(env.texts("TRUSTED_PROXIES", [], **_NETWORKS))

# -- Monitoring -------------------------------------------------------------------------
METRICS_DIR = Path(env.text("METRICS_DIR", str(BASE_DIR / "var" / "metrics"))).resolve()
METRICS_PORT = env.integer("METRICS_PORT", 0, low=0, high=65535)
METRICS_TOKEN = env.secret("METRICS_TOKEN", "", min_length=20)
_local = [] if PRODUCTION else ["127.0.0.0/8", "::1"]
METRICS_NETWORKS = _networks(env.texts("METRICS_NETWORKS", _local, **_NETWORKS))
