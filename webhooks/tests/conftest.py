"""The chain of the recovery's tests, for tests that deliver its mints by webhook."""

from tokens.tests.recovery.conftest import _deployed, chain, reader

__all__ = ["_deployed", "chain", "reader"]
