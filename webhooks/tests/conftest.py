"""The chain of the recovery's tests, for tests that deliver its mints by webhook."""

import pytest
from pytest_django import Settings

from authors.tests.factories import AuthorFactory
from glisk.timing import timing
from tokens.recovery import proof
from tokens.tests.recovery.conftest import chain, reader
from tokens.tests.recovery.model_chain import CONTRACT
from webhooks.tests.chain_equality import DEFAULT_AUTHOR, DEFAULT_PROMPT, REGISTERED

__all__ = ["chain", "reader"]


@pytest.fixture
def model_world(db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and authors of the random cases; only the chain's waits are played, in blocks."""
    settings.GLISK_NFT_CONTRACT_ADDRESS = CONTRACT
    settings.CONTRACT_DEPLOYED_AT_BLOCK = 0
    settings.MINT_CONFIRMATIONS = 2
    settings.GLISK_DEFAULT_AUTHOR_WALLET = DEFAULT_AUTHOR
    for address, prompt in {DEFAULT_AUTHOR: DEFAULT_PROMPT, **REGISTERED}.items():
        AuthorFactory.create(wallet_address=address, prompt_text=prompt)
    monkeypatch.setattr(timing, "first_retry", 0.0)
    monkeypatch.setattr(timing, "node_lag", 0.0)
    monkeypatch.setattr(proof, "OLD_ONES", 1000)  # all of them in every proof
