"""Django settings; every value comes from the environment (see .env.example).

One module per concern; all of them are read before the first fault is told. Only the worker, which
signs, gets the keeper's key. psycopg's pool does not survive the forks of the task cluster, and
hides why a database is away: the worker and all commands hold persistent connections instead.
"""

from glisk.config.notification_urls import secret_parts
from glisk.logging.redaction import register_secret
from glisk.settings.alerts import *
from glisk.settings.chain import *
from glisk.settings.chain import IS_REAL_NETWORK, RPC_URL
from glisk.settings.images import *
from glisk.settings.processes import *
from glisk.settings.processes import BASE_DIR, PRODUCTION, env
from glisk.settings.visitors import *
from glisk.settings.visitors import OPTIMISM_RPC_URL

# No log line, stored error or page may show what was read as a secret.
for _, _secret in env.secrets:
    register_secret(_secret)
for _url in (RPC_URL, OPTIMISM_RPC_URL):  # the host is told, the key in the path is not
    for _part in secret_parts(_url):
        if _part != _url:
            register_secret(_part)
if IS_REAL_NETWORK or PRODUCTION:
    # The secrets of sandbox/ and docker/ stand in the example, too: an image has nothing else.
    env.refuse_published(example=BASE_DIR / ".env.example")
env.finish()
MISNAMED_VARIABLES = env.misnamed()

from glisk.settings.frameworks import *  # noqa: E402 - only a right environment sets them up
