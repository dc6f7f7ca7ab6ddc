"""The chain of the recovery's tests, for tests that deliver its mints by webhook."""

from collections.abc import Iterator

import pytest

from glisk import refused_webhooks
from tokens.tests.recovery.conftest import _deployed, chain, reader

__all__ = ["_deployed", "chain", "reader"]


@pytest.fixture(autouse=True)
def _no_refusal_is_kept() -> Iterator[None]:
    """Let no test's forged signatures write to the database; tests of that open the gate."""
    refused_webhooks.gate.shut("alchemy", "replicate")
    yield
    refused_webhooks.gate.reset()
