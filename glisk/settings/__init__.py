"""Django settings; every value comes from the environment (see .env.example).

One module per concern; all of them are read before the first fault is told. The web process and
the worker read the same variables. The only difference is the database connection: psycopg's pool
does not survive the forks of the task cluster, and hides why a database is away: the worker and
every other command hold persistent connections instead.
"""

from glisk.settings import redacted as redacted
from glisk.settings.chain import *
from glisk.settings.environment import BASE_DIR as BASE_DIR
from glisk.settings.environment import env
from glisk.settings.images import *
from glisk.settings.reveals import *
from glisk.settings.server import *
from glisk.settings.visitors import *
from glisk.settings.worker import *

env.finish()

from glisk.settings.frameworks import *  # noqa: E402 - only a right environment sets them up
