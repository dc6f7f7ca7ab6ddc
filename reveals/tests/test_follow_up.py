"""After a reveal: read back from the chain, and shown to the marketplace; nothing waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from glisk import breaker as breaker_module
from glisk.clients.chain import ChainClient
from glisk.clients.opensea import OpenSeaClient
from glisk.errors import AccountError, InvalidRequestError, TransientError
from glisk.models import SystemState
from reveals import following_up, marketplace, tasks
from reveals.models import MarketplaceRefresh, RevealTransaction
from reveals.tests.stage import Scene, breaker_reason, transactions
from sandbox.node import free_port
from sandbox.opensea.emulator import OpenSeaEmulator
from tokens.factories import TokenFactory
from tokens.models import Token
from tokens.recovery.drift import last_report
from tokens.states import TokenStatus
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db

KEY = "sandbox-opensea-key"


@pytest.fixture
def opensea(settings: Settings) -> Iterator[OpenSeaEmulator]:
    with OpenSeaEmulator(api_key=KEY) as emulator:
        settings.OPENSEA_API_KEY = KEY
        settings.OPENSEA_API_URL = emulator.url
        yield emulator


def revealed(worker: Start, scene: Scene, quantity: int = 2) -> list[Token]:
    tokens = scene.mint(quantity)
    worker().until(lambda: scene.revealed_once(tokens))
    return tokens


def read_back_at() -> Any:
    return RevealTransaction.objects.get().read_back_at


def drift() -> list[tuple[str, int | None]]:
    return [(finding.kind, finding.token_id) for finding in last_report().findings]


# -- reading back -----------------------------------------------------------------------------


@pytest.mark.fast
def test_a_reveal_is_read_back_once(worker: Start, scene: Scene) -> None:
    revealed(worker, scene)
    assert read_back_at() is None
    assert tasks.follow_up_reveals() == 1
    assert read_back_at() is not None
    assert tasks.follow_up_reveals() == 0
    assert drift() == []


def test_a_confirmation_has_it_run_at_once(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueued: list[str] = []
    monkeypatch.setattr(following_up, "async_task", enqueued.append)
    monkeypatch.setattr(following_up, "_nudged_at", -10.0)
    revealed(worker, scene)
    assert enqueued == ["reveals.tasks.follow_up_reveals"]


def test_it_is_a_constant_number_of_round_trips(
    worker: Start, scene: Scene, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BATCH_REVEAL_MAX_TOKENS = 5
    revealed(worker, scene, 20)
    assert len(transactions()) == 4
    readers: list[ChainClient] = []
    build = ChainClient.__init__

    def noted(self: ChainClient, *args: Any, **options: Any) -> None:
        build(self, *args, **options)
        readers.append(self)

    monkeypatch.setattr(ChainClient, "__init__", noted)
    assert tasks.follow_up_reveals() == 4
    assert sum(reader.requests for reader in readers) == 2


def test_another_uri_than_ours_is_drift(worker: Start, scene: Scene) -> None:
    good, bad = revealed(worker, scene)
    row = transactions()[0]
    row.metadata_uris[row.token_ids.index(bad.pk)] = "ipfs://" + "Q" * 46
    row.save()
    assert tasks.follow_up_reveals() == 1
    assert drift() == [("uri_differs", bad.pk)]
    assert f"{good.token_uri}"[:7] in last_report().findings[0].detail


def test_an_event_that_does_not_name_a_token_is_drift(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, other = revealed(worker, scene)
    receipts = ChainClient.receipts

    def shortened(self: ChainClient, tx_hashes: Any) -> Any:
        found = receipts(self, tx_hashes)
        for receipt in found.values():
            if receipt is not None:
                one = f"{32:064x}{1:064x}{other.pk - 1:064x}"
                receipt.logs[0]["data"] = "0x" + one
        return found

    monkeypatch.setattr(ChainClient, "receipts", shortened)
    assert tasks.follow_up_reveals() == 1
    assert drift() == [("uri_differs", other.pk)]
    assert "does not name it" in last_report().findings[0].detail


def test_a_node_that_does_not_show_it_yet_is_asked_again(
    worker: Start, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    revealed(worker, scene)
    right = RevealTransaction.objects.get().tx_hash
    RevealTransaction.objects.update(tx_hash="0x" + "ab" * 32)
    assert tasks.follow_up_reveals() == 0
    assert read_back_at() is None
    assert "reveal_not_shown" not in caplog.text
    RevealTransaction.objects.update(confirmed_at=timezone.now() - timedelta(minutes=5))
    tasks.follow_up_reveals()
    assert "reveal_not_shown" in caplog.text
    RevealTransaction.objects.update(tx_hash=right)
    assert tasks.follow_up_reveals() == 1


def test_a_node_that_is_down_is_asked_later(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    revealed(worker, scene)
    right, settings.RPC_URL = settings.RPC_URL, f"http://127.0.0.1:{free_port()}"
    assert tasks.follow_up_reveals() == 0
    settings.RPC_URL = right
    assert tasks.follow_up_reveals() == 1


# -- the marketplace --------------------------------------------------------------------------


def wanted(*token_ids: int) -> None:
    for token_id in token_ids:
        TokenFactory.create(
            token_id=token_id, status=TokenStatus.REVEALED, reveal_tx_hash="0x" + "ab" * 32
        )
    marketplace.want_refresh(token_ids)


def due() -> None:
    """Let the time pass that refreshes were told to wait."""
    MarketplaceRefresh.objects.update(next_attempt_at=timezone.now())


def test_a_revealed_token_is_refreshed_after_it_was_read_back(
    worker: Start, scene: Scene, opensea: OpenSeaEmulator, settings: Settings
) -> None:
    tokens = revealed(worker, scene)
    assert tasks.follow_up_reveals() == 3  # one transaction, two tokens
    contract = settings.GLISK_NFT_CONTRACT_ADDRESS
    assert opensea.refreshed == [("base", contract, token.pk) for token in tokens]
    assert MarketplaceRefresh.objects.filter(refreshed_at__isnull=False).count() == 2
    assert tasks.follow_up_reveals() == 0
    assert len(opensea.refreshed) == 2


def test_a_token_that_differs_is_not_shown(
    worker: Start, scene: Scene, opensea: OpenSeaEmulator
) -> None:
    (token,) = revealed(worker, scene, 1)
    RevealTransaction.objects.update(metadata_uris=["ipfs://" + "Q" * 46])
    tasks.follow_up_reveals()
    assert drift() == [("uri_differs", token.pk)]
    assert opensea.refreshed == []


def test_without_a_key_nothing_is_noted_or_asked(
    worker: Start, scene: Scene, opensea: OpenSeaEmulator, settings: Settings
) -> None:
    settings.OPENSEA_API_KEY = ""
    revealed(worker, scene)
    assert tasks.follow_up_reveals() == 1
    assert not MarketplaceRefresh.objects.exists()
    assert opensea.calls == []


def test_what_was_wanted_before_a_crash_is_asked_for_after_it(opensea: OpenSeaEmulator) -> None:
    """The process ends after the vendor's answer and before the row is written: asked again."""
    wanted(1, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MarketplaceRefresh, "save", _crash)
        with pytest.raises(KeyboardInterrupt):
            tasks.follow_up_reveals()
    assert tasks.follow_up_reveals() == 2
    assert [number for _, _, number in opensea.refreshed] == [1, 1, 2]


def _crash(*args: Any, **options: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["throttle", "server_error", "drop_before", "drop_after"])
def test_an_outage_is_waited_for_and_counts_against_nobody(
    opensea: OpenSeaEmulator, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.setattr(breaker_module, "FAILURES_TO_OPEN", 1)
    monkeypatch.setattr(breaker_module, "backoff_seconds", lambda *a, **b: 0.0)
    wanted(1, 2)
    opensea.plan_fault(kind)
    assert tasks.follow_up_reveals() in (0, 1)
    row = MarketplaceRefresh.objects.get(pk=1)
    assert (row.refreshed_at, row.attempts, row.given_up) == (None, 0, False)
    assert row.next_attempt_at > timezone.now()
    assert row.error
    SystemState.objects.filter(state_key="breaker:opensea").delete()
    due()
    tasks.follow_up_reveals()
    assert {number for _, _, number in opensea.refreshed} == {1, 2}


def test_a_refused_key_stops_the_calls_and_says_so(
    opensea: OpenSeaEmulator, settings: Settings
) -> None:
    settings.OPENSEA_API_KEY = "another-key-that-is-secret"
    wanted(1, 2, 3)
    assert tasks.follow_up_reveals() == 0
    assert len(opensea.calls) == 1
    assert "Invalid API key" in breaker_reason("opensea")
    assert "another-key" not in breaker_reason("opensea")
    due()
    tasks.follow_up_reveals()
    assert len(opensea.calls) == 1


def test_a_token_that_is_unknown_there_is_tried_again_and_given_up_in_the_end(
    opensea: OpenSeaEmulator,
) -> None:
    wanted(1, 2)
    opensea.set_faults(unknown_first=2)
    for expected in (0, 0, 2):
        assert tasks.follow_up_reveals() == expected
        due()
    opensea.set_faults(unknown_first=100)
    marketplace.want_refresh([1])
    for _ in range(marketplace.MAX_ATTEMPTS + 3):
        tasks.follow_up_reveals()
        due()
    row = MarketplaceRefresh.objects.get(pk=1)
    assert (row.attempts, row.given_up) == (marketplace.MAX_ATTEMPTS, True)
    assert "HTTP 404" in row.error


def test_the_rate_is_kept(opensea: OpenSeaEmulator, settings: Settings) -> None:
    settings.OPENSEA_REQUESTS_PER_MINUTE = 3
    wanted(*range(1, 8))
    assert tasks.follow_up_reveals() == 3
    assert tasks.follow_up_reveals() == 0
    assert len(opensea.calls) == 3


def test_a_run_ends_soon(opensea: OpenSeaEmulator) -> None:
    wanted(1, 2, 3)
    opensea.set_faults(latency_seconds=(0.1, 0.1))
    assert marketplace.refresh_due(OpenSeaClient.from_settings(), run_seconds=0.05) == 1


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("throttle", TransientError),
        ("server_error", TransientError),
        ("drop_after", TransientError),
    ],
)
def test_the_clients_failures_have_their_class(
    opensea: OpenSeaEmulator, kind: Any, error: type[Exception]
) -> None:
    client = OpenSeaClient.from_settings()
    opensea.plan_fault(kind)
    with pytest.raises(error):
        client.refresh(1)
    client.refresh(1)


def test_refusals_have_their_class(opensea: OpenSeaEmulator, settings: Settings) -> None:
    opensea.set_faults(unknown_first=1)
    with pytest.raises(InvalidRequestError, match="not found"):
        OpenSeaClient.from_settings().refresh(1)
    settings.OPENSEA_API_KEY = "x" * 20
    with pytest.raises(AccountError, match="Invalid API key"):
        OpenSeaClient.from_settings().refresh(1)
