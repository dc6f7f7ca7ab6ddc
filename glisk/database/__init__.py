"""Django's DATABASES entry: a given PostgreSQL, or the embedded one; and whether it has all tables.

The settings import this module, so it imports nothing that needs them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import environ

from glisk.config import ConfigurationError

# A statement that runs this long is a fault, not work; a transaction never waits on a vendor.
_TIMEOUTS = "-c statement_timeout=30s -c idle_in_transaction_session_timeout=60s"
# The same on the server's side, where a machine that lost its network for good would keep its locks
# for two hours: its sessions end half a minute after the last sign of life.
_SERVER_KEEPALIVE = (
    "-c tcp_keepalives_idle=15s -c tcp_keepalives_interval=5s -c tcp_keepalives_count=3 "
    "-c tcp_user_timeout=30s"
)
# What a web process prepares (webhooks.inbox) is planned once. By itself PostgreSQL plans the
# insert of tokens each time, since it takes 1,000 of them for likely.
_PLAN_ONCE = "-c plan_cache_mode=force_generic_plan"
# A network that swallows packets must not hold a process for the kernel's quarter of an hour.
_KEEPALIVE = {
    "connect_timeout": 5,  # seconds
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
}


@contextmanager
def undone_if(dry_run: bool) -> Iterator[None]:
    """Take back what the block writes, where it is a dry run: it was done, and nobody saw it.

    The block asks no vendor: in a dry run all of it is one transaction.
    """
    from django.db import transaction

    if not dry_run:
        yield
        return
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def database_settings(*, url: str, embedded_dir: Path, pool_size: int | None) -> dict[str, Any]:
    """Return the settings of the default database.

    `pool_size` None means persistent connections without a pool: psycopg's pool does not
    survive the forks of the task cluster. The embedded server is started if need be.

    Raises:
        ConfigurationError: the embedded server cannot be started.
    """
    if not url:
        from glisk.database.embedded_postgres import EmbeddedPostgresError, ensure_running

        try:
            url = ensure_running(embedded_dir)
        except EmbeddedPostgresError as error:
            raise ConfigurationError(str(error)) from error
    settings: dict[str, Any] = environ.Env.db_url_config(url)
    settings["ENGINE"] = "django.db.backends.postgresql"
    options: dict[str, Any] = settings.setdefault("OPTIONS", {})
    # A socket's directory comes as an option; Django and its dbshell look for it here.
    settings["HOST"] = options.pop("host", settings["HOST"])
    # A web request gives up on a lock before Alchemy gives up on the request (5 s).
    lock_timeout = f"-c lock_timeout={10 if pool_size is None else 3}s"
    keepalive = "" if settings["HOST"].startswith("/") else _SERVER_KEEPALIVE
    plans = "" if pool_size is None else _PLAN_ONCE
    given = (options.get("options"), _TIMEOUTS, lock_timeout, keepalive, plans)
    options["options"] = " ".join(filter(None, given))
    settings["OPTIONS"] = options = {**_KEEPALIVE, **options}
    settings["CONN_HEALTH_CHECKS"] = True
    if pool_size is None:
        settings["CONN_MAX_AGE"] = None
    else:
        options["pool"] = {"min_size": 1, "max_size": pool_size, "timeout": 3}
        settings["CONN_MAX_AGE"] = 0
    return settings


def unapplied_migrations() -> list[str]:
    """Return the migrations that the database still lacks, as `app.name`, in their order.

    Raises django.db.DatabaseError while the database does not answer.
    """
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
