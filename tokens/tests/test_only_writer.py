"""Writes of tokens by other production code than tokens.transitions are noticed."""

import types

import pytest
from django.db import connection

from tokens.models import Token
from tokens.tests import only_writer
from tokens.tests.factories import TokenFactory
from tokens.transitions.claims import hold

pytestmark = pytest.mark.django_db


def _called_from(module: str) -> list[str]:
    """Write a token by a function of a module of that name; return what was noticed."""
    code = "def write(): rows.update(hold_reason='', held_at=None)"
    made = types.ModuleType(module)
    made.__dict__["rows"] = Token.objects.all()
    exec(code, made.__dict__)
    made.write()
    noticed, only_writer._others[:] = only_writer._others[:], []
    return noticed


def test_writes_of_other_modules_are_noticed() -> None:
    TokenFactory()
    assert [line.partition(":")[0] for line in _called_from("reveals.anything")] == [
        "reveals.anything.write"
    ]
    assert not _called_from("tokens.transitions.anything")


def test_arranging_and_the_writer_itself_are_not() -> None:
    TokenFactory(token_id=1)
    hold(1, reason="why")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tokens_s0 SET held_at = NULL, hold_reason = ''")
