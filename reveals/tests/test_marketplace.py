"""After a reveal the marketplace looks at the token again; nothing waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from glisk import breaker as breaker_module
from glisk.clients.chain import ChainClient
from glisk.engine.drain import Drain
from glisk.models import SystemState
from reveals.models import MarketplaceRefresh
from reveals.outbox import Shared
from reveals.pipeline import after
from reveals.tests.opensea_emulator import OpenSeaEmulator
from reveals.tests.stage import Scene, are_read_back, drift, reveal
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Start, Worker

pytestmark = pytest.mark.django_db

KEY = "sandbox-opensea-key"


@pytest.fixture
def opensea(settings: Settings) -> Iterator[OpenSeaEmulator]:
    with OpenSeaEmulator(api_key=KEY) as emulator:
        settings.OPENSEA_API_KEY = KEY
        settings.OPENSEA_API_URL = emulator.url
        yield emulator


class Afterwards(Drain):
    """A drain with nothing but the refresh."""

    stage = "after"

    def prepare(self) -> None:
        self.steps = [after.Refresh(self.owner, Shared())]


@pytest.fixture
def shop(opensea: OpenSeaEmulator) -> Iterator[Callable[[], Worker]]:
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(Afterwards()))
        return started[-1]

    yield start
    for each in started:
        each.end()


def wanted(*token_ids: int) -> None:
    for token_id in token_ids:
        TokenFactory.create(
            token_id=token_id, status=TokenStatus.REVEALED, reveal_tx_hash="0x" + "ab" * 32
        )
    after.want_refresh(token_ids)


def due() -> None:
    """Let the time pass that refreshes were told to wait."""
    MarketplaceRefresh.objects.update(next_attempt_at=timezone.now())


def are_refreshed(*token_ids: int) -> bool:
    done = MarketplaceRefresh.objects.filter(refreshed_at__isnull=False)
    return set(done.values_list("pk", flat=True)) == set(token_ids)


def test_a_revealed_token_is_refreshed_after_it_was_read_back(
    worker: Start, scene: Scene, opensea: OpenSeaEmulator, settings: Settings
) -> None:
    drain, tokens = reveal(worker, scene, 2)
    drain.until(lambda: are_refreshed(*[token.pk for token in tokens]))
    drain.settle(0.2)
    contract = settings.GLISK_NFT_CONTRACT_ADDRESS
    assert opensea.refreshed == [("base", contract, token.pk) for token in tokens]


def test_a_token_that_differs_is_not_shown(
    worker: Start, scene: Scene, opensea: OpenSeaEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = ChainClient.tokens

    def others(self: ChainClient, token_ids: Any) -> Any:
        found = tokens(self, token_ids)
        return {i: type(token)(**{**vars(token), "uri": "ipfs://x"}) for i, token in found.items()}

    monkeypatch.setattr(ChainClient, "tokens", others)
    drain, (token,) = reveal(worker, scene)
    drain.until(are_read_back)
    drain.settle(0.1)
    assert drift() == [("uri_differs", token.pk)]
    assert opensea.refreshed == []


def test_without_a_key_nothing_is_noted_or_asked(
    worker: Start, scene: Scene, opensea: OpenSeaEmulator, settings: Settings
) -> None:
    settings.OPENSEA_API_KEY = ""
    drain, _ = reveal(worker, scene, 2)
    drain.until(are_read_back)
    assert not MarketplaceRefresh.objects.exists()
    assert opensea.calls == []


@pytest.mark.parametrize("kind", ["throttle", "drop_after"])
def test_an_outage_is_waited_for_and_counts_against_nobody(
    opensea: OpenSeaEmulator, shop: Start, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.setattr(breaker_module, "FAILURES_TO_OPEN", 1)

    wanted(1, 2)
    opensea.plan_fault(kind)
    drain = shop()
    drain.until(lambda: MarketplaceRefresh.objects.get(pk=1).error)
    row = MarketplaceRefresh.objects.get(pk=1)
    assert (row.refreshed_at, row.attempts, row.given_up) == (None, 0, False)
    assert row.next_attempt_at > timezone.now()
    SystemState.objects.filter(state_key="breaker:opensea").delete()
    due()
    shop().until(lambda: are_refreshed(1, 2))


def test_a_token_that_is_unknown_there_is_tried_again_and_given_up_in_the_end(
    opensea: OpenSeaEmulator, shop: Start
) -> None:
    wanted(1)
    opensea.set_faults(unknown_first=100)
    drain = shop()
    for attempts in range(1, after.MAX_ATTEMPTS + 1):
        due()
        drain.until(MarketplaceRefresh.objects.filter(attempts=attempts).exists)
    row = MarketplaceRefresh.objects.get()
    assert row.given_up
    assert "HTTP 404" in row.error
    due()
    drain.settle(0.1)
    assert len(opensea.calls) == after.MAX_ATTEMPTS
    opensea.set_faults(unknown_first=0)
    after.want_refresh([1])
    drain.until(lambda: are_refreshed(1))


def test_the_rate_is_kept(opensea: OpenSeaEmulator, settings: Settings, shop: Start) -> None:
    settings.OPENSEA_REQUESTS_PER_MINUTE = 3
    wanted(*range(1, 8))
    shop().settle(0.5)
    assert len(opensea.calls) == 3
