"""Django's migrate, by one process at a time: every web and worker start may run it."""

import time
from typing import Any

from django.core.management.commands.migrate import Command as MigrateCommand
from django.db import connections

# Any number will do as long as nobody else takes it (slots: glisk/engine).
_LOCK = 0x676C69736B  # "glisk"
_PATIENCE_SECONDS = 600


class Command(MigrateCommand):
    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        with connection.cursor() as cursor:
            # Our bounds are made for short statements; an index may take longer to build.
            cursor.execute("SET statement_timeout = 0")
            cursor.execute("SET idle_in_transaction_session_timeout = 0")
            deadline = time.monotonic() + _PATIENCE_SECONDS
            told = False
            # Not one statement that waits: an index that is built waits for all statements.
            while cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone() != (True,):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another migrate has run for {_PATIENCE_SECONDS} s")
                if not told:
                    self.stderr.write("Another migrate is running; waiting for it.")
                    told = True
                time.sleep(0.2)
        try:
            super().handle(*args, **options)
        finally:
            connection.close()  # and with it the lock
