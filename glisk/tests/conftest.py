"""What several of these tests need."""

from collections.abc import Iterator

import pytest
from django.db import connection

from glisk.tests.database import database_url


@pytest.fixture
def empty_database(transactional_db: None) -> Iterator[str]:
    """Create a database without tables on the test server; yield its URL."""
    name = f"{connection.settings_dict['NAME']}_empty"
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    yield database_url(name)
    with connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
