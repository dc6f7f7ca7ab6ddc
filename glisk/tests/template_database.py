"""One migrated database, of which each run copies its own: that saves seconds at every start."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import psutil
from django.apps import apps
from django.conf import settings
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper


class TemplateDatabase:
    """Named by its migrations. The run that finds none makes it; others wait meanwhile."""

    def __init__(self) -> None:
        digest = sha256()
        for app in apps.get_app_configs():
            for migration in sorted(Path(app.path, "migrations").glob("*.py")):
                digest.update(migration.read_bytes())
        self.name = f"template_glisk_{digest.hexdigest()[:16]}"
        self._builder: BaseDatabaseWrapper | None = None

    def use(self) -> None:
        """Let the test database be a copy, or be what the template is copied from."""
        server = _server()
        cursor = server.cursor()
        if settings.EMBEDDED_DATABASE:
            _prepare_embedded(cursor, self.name)
        cursor.execute("SET lock_timeout = 0")  # on a busy machine migrating takes long
        cursor.execute("SELECT pg_advisory_lock(hashtext(%s))", [self.name])
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", [self.name])
        if cursor.fetchone() is None:
            self._builder = server
        else:
            connection.settings_dict["TEST"]["TEMPLATE"] = self.name
            server.close()

    def keep(self) -> None:
        """Copy the template from the test database if that was migrated just now."""
        if self._builder is None:
            return
        connection.close()  # nobody may be connected to what is copied
        migrated = connection.settings_dict["NAME"]
        self._builder.cursor().execute(f'CREATE DATABASE "{self.name}" TEMPLATE "{migrated}"')
        self._builder.close()


def _server() -> BaseDatabaseWrapper:
    """Connect as Django does to create a test database."""
    ours = connections["default"]
    return type(ours)({**ours.settings_dict, "NAME": "postgres"}, alias="__no_db__")


def _prepare_embedded(cursor: CursorWrapper, template: str) -> None:
    """Let nothing wait for the disk; drop what killed runs and other migrations left."""
    for name in ("fsync", "full_page_writes"):
        cursor.execute(f"ALTER SYSTEM SET {name} = off")
    cursor.execute("SELECT pg_reload_conf()")
    cursor.execute(r"SELECT datname FROM pg_database WHERE datname ~ '^(test|template)_glisk_'")
    for (name,) in cursor.fetchall():
        kind, _, owner = name.split("_")[:3]
        unused = name != template if kind == "template" else not psutil.pid_exists(int(owner))
        if unused:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
