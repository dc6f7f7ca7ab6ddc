"""Each mishap that can be rehearsed is told where an operator looks, and nothing is told after it.

Dashboard, pipeline_status and the token's page are asked while tokens meet the mishap, and alerts
begin and end: a node, the vendors' emulators and both drains, mints as collectors make them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from pytest_django import Settings

from authors.tests.factories import AuthorFactory
from glisk.console.alerts.evaluation import note_troubles
from glisk.console.controls import list_breakers, list_rate_use, reset_breaker, reset_rate_limit
from glisk.models import Alert, AlertDelivery
from glisk.tests.asking import ask, beat, dashboard, page_of
from glisk.tests.pace import hurry
from glisk.timing import timing
from reveals import tasks as reveal_tasks
from reveals.tasks import RevealDrain
from sandbox.accounts import AUTHORS, KEEPER
from sandbox.alchemy.emulator import SANDBOX_SIGNING_KEY, AlchemyEmulator
from sandbox.chain import DemoChain
from sandbox.ports import Ports
from sandbox.rehearsal.mishaps import MISHAPS, Mishap
from sandbox.tests.webhook_receiver import Receiver
from sandbox.world import World, WorldOptions
from tokens.models import Token
from tokens.recovery import schedule
from tokens.repairs import failed_token_ids, retry_tokens
from tokens.states import TokenStatus
from tokens.tasks import GenerationDrain, UploadDrain
from tokens.tests.conftest import _vendors, vendors
from tokens.tests.stage import PATIENCE_SECONDS, Vendors, Worker

__all__ = ["_vendors", "vendors"]

_TOKENS = 8  # at once: more than a small account may pay for in a minute


class Steps:
    """What runs by itself in a real one is done here step by step, by the test."""

    def __init__(self, place: World, receiver: Receiver, client: Client) -> None:
        self.place, self.client, self._receiver = place, client, receiver
        self._workers = [Worker(GenerationDrain(), UploadDrain()), Worker(RevealDrain())]

    def mint(self) -> None:
        chain = self.place.chain
        chain.mine()  # which shows the new price of gas
        chain.wait(chain.mint(1, AUTHORS[0].address, _TOKENS))

    def until(self, condition: Callable[[], Any], *, what: str) -> None:
        """Let workers, schedules and deliveries go on until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, what
            for _ in range(5):
                for worker in self._workers:
                    worker.step()
            while self._receiver.received:
                one = self._receiver.received.pop(0)
                headers = {"x-alchemy-signature": one.headers["x-alchemy-signature"]}
                answer = self.client.post(
                    "/webhooks/alchemy", one.body, content_type="application/json", headers=headers
                )
                assert answer.status_code == 200
            schedule.look_at_chain()
            reveal_tasks.look_at_keeper()
            note_troubles()

    def repair(self) -> None:
        """Do what an operator does when the cause is mended: call again, retry what failed."""
        for name, _, trouble in list_breakers():
            if trouble:
                reset_breaker(name, actor="ada", reason="mended")
        for rate in list_rate_use():
            reset_rate_limit(rate["name"], actor="ada", reason="mended")
        retry_tokens(token_ids=failed_token_ids(), actor="ada", reason="mended")

    @property
    def all_revealed(self) -> bool:
        revealed = Token.objects.filter(status=TokenStatus.REVEALED).count()
        return revealed == self.place.chain.next_token_id() - 1

    def end(self) -> None:
        for worker in self._workers:
            worker.end()


@pytest.fixture
def world(
    deployed: DemoChain,
    vendors: Vendors,
    quick: None,
    admin_client: Client,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Steps]:
    hurry(monkeypatch.setattr)
    monkeypatch.setattr(timing, "webhook_late_after", 0)
    monkeypatch.setattr(timing, "lookup_shown_after", 0.5)
    settings.STUCK_AFTER_SECONDS = 1
    settings.ALERT_URLS, settings.ALERT_AFTER_SECONDS = ["json://127.0.0.1:9"], 0
    settings.RPC_URL = deployed.rpc_url
    settings.GLISK_NFT_CONTRACT_ADDRESS = deployed.contract.address
    settings.KEEPER_PRIVATE_KEY = KEEPER.private_key
    settings.ALCHEMY_WEBHOOK_SECRETS = [SANDBOX_SIGNING_KEY]
    AuthorFactory.create(wallet_address=AUTHORS[0].address, prompt_text="a fox")
    AuthorFactory.create(wallet_address=settings.GLISK_DEFAULT_AUTHOR_WALLET)
    beat("supervisor", "generation", "upload", "reveal")
    before = deployed.snapshot()
    with (
        Receiver() as receiver,
        AlchemyEmulator(rpc_url=deployed.rpc_url, target=receiver.target) as alchemy,
    ):
        urls = {
            "node": deployed.rpc_url,
            "replicate": vendors.replicate.url,
            "pinata": vendors.pinata.url,
            "gateway": vendors.gateway.url,
            "alchemy": alchemy.url,
        }
        ports = Ports(**{name: urlsplit(url).port or 0 for name, url in urls.items()})
        place = World(tmp_path, ports=ports, options=WorldOptions())
        made = Steps(place, receiver, admin_client)
        yield made
        made.end()
    schedule._kept_reader.cache_clear()
    deployed.revert(before)


@pytest.mark.django_db
@pytest.mark.parametrize("mishap", MISHAPS.values(), ids=list(MISHAPS))
def test_a_mishap_is_told_wherever_an_operator_looks_until_it_is_over(
    mishap: Mishap, world: Steps
) -> None:
    client = world.client
    world.until(lambda: ask(client).is_well, what="the beginning")

    for _ in range(2):  # twice is once
        mishap.let_happen(world.place)
    world.mint()
    met: list[Token] = []

    def is_told() -> bool:
        if mishap.seen not in dashboard(client):
            return False
        waiting = Token.objects.exclude(status=TokenStatus.REVEALED).order_by("-pk")
        met[:] = [token for token in waiting[:1] if mishap.seen in page_of(client, token)]
        return bool(met) or not mishap.holds_tokens

    world.until(is_told, what=f"nobody is told of {mishap.name}")
    told = ask(client, *met)
    assert told.status == 2
    for text in (told.dashboard, told.terminal, *([told.page] if met else [])):
        assert mishap.seen in text

    mishap.let_happen(world.place, end=True)
    world.mint()  # brings a webhook, too

    def is_over() -> bool:
        world.repair()  # again: some calls were under way at the end, and fail after it
        return world.all_revealed and ask(client).is_well

    world.until(is_over, what="the end")
    note_troubles()
    assert not Alert.objects.filter(ended_at=None).exists()
    begun = AlertDelivery.objects.filter(event="begin")
    right = {one.alert_id for one in begun if mishap.seen in f"{one.title} {one.body}"}
    ended = AlertDelivery.objects.filter(event="end", alert__in=right)
    assert right == set(ended.values_list("alert", flat=True)) != set()
