"""Writes of tokens by other production code than tokens.transitions are noticed."""

import types

import pytest

from tokens.models import Token
from tokens.tests import only_writer
from tokens.tests.factories import TokenFactory

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
    TokenFactory()  # arranging is none of them
    (noticed,) = _called_from("reveals.anything")
    assert noticed.startswith("reveals.anything.write:")
    assert not _called_from("tokens.transitions.anything")
