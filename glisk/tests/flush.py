"""Empty the database after a test that commits, by deleting what is there.

Django's flush truncates every table and makes all permissions anew: half a second, each time.
"""

from functools import cache

import pytest
from django.db import connection, transaction
from django.test import TransactionTestCase

# Written by `migrate` alone, and the same for all tests.
_KEPT = {"django_migrations", "django_content_type", "auth_permission"}


@cache
def _tables() -> list[str]:
    names = connection.introspection.django_table_names(include_views=False)
    return [connection.ops.quote_name(name) for name in names if name not in _KEPT]


def _empty_what_is_filled(test_case: TransactionTestCase) -> None:
    filled = (f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})" for table in _tables())
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute(" UNION ALL ".join(filled))
        for (table,) in cursor.fetchall():
            cursor.execute(f"DELETE FROM {table}")


def pytest_configure() -> None:
    pytest.MonkeyPatch().setattr(TransactionTestCase, "_fixture_teardown", _empty_what_is_filled)
