"""Whether the database has all tables: a worker that starts before `migrate` has to wait."""

from __future__ import annotations

from django.db import connection
from django.db.migrations.executor import MigrationExecutor


def unapplied_migrations() -> list[str]:
    """Return the migrations that the database still lacks, as `app.name`, in their order.

    Raises django.db.DatabaseError while the database does not answer.
    """
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
