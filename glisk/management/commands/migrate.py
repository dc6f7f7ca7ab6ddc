"""Django's migrate, by one process at a time: every web and worker start may run it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.commands.migrate import Command as MigrateCommand
from django.db import connections

# Any number will do as long as nobody else takes it (slots: glisk/engine).
_LOCK = 0x676C69736B  # "glisk"
_PATIENCE_SECONDS = 600


class Command(MigrateCommand):
    def handle(self, *args: Any, **options: Any) -> None:
        with self._alone(options["database"]):
            super().handle(*args, **options)

    @contextmanager
    def _alone(self, database: str) -> Iterator[None]:
        """Hold an advisory lock, which ends with the connection, over the whole command."""
        connection = connections[database]
        with connection.cursor() as cursor:
            # Our bounds are made for short statements; an index may take longer to build.
            cursor.execute("SET statement_timeout = 0")
            cursor.execute("SET idle_in_transaction_session_timeout = 0")
            deadline = time.monotonic() + _PATIENCE_SECONDS
            told = False
            while True:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
                if cursor.fetchone() == (True,):
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another migrate has run for {_PATIENCE_SECONDS} s")
                if not told:
                    self.stderr.write("Another migrate is running; waiting for it.")
                    told = True
                time.sleep(0.2)
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
                cursor.execute("RESET statement_timeout")
                cursor.execute("RESET idle_in_transaction_session_timeout")
