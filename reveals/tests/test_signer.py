"""A keeper whose key is in AWS KMS reveals; while its signer is away, reveals wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from pytest_django import Settings

from glisk.console.overview.causes import find_causes
from glisk.errors import TransientError
from glisk.tests.clients.kms_emulator import KmsEmulator
from reveals import outbox
from reveals.keeper import Keeper
from reveals.models import RevealBatch, RevealTransaction
from reveals.outbox import Shared
from reveals.pipeline.sign import Sign
from reveals.tests.stage import Scene, breaker_reason, is_held_back, statuses, transactions
from sandbox.accounts import ACCOUNTS, KEEPER
from tokens.models import Token
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db


@pytest.fixture
def kms(scene: Scene, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[KmsEmulator]:
    with KmsEmulator() as kms:
        for name, value in kms.environment.items():
            monkeypatch.setenv(name, value)
        settings.KEEPER_PRIVATE_KEY = ""
        settings.KEEPER_ADDRESS = KEEPER.address
        settings.KEEPER_KMS_KEY_ID = kms.create_key(KEEPER.private_key)
        yield kms


def unsigned() -> list[RevealBatch]:
    return list(RevealBatch.objects.exclude(to_sign=None))


def asked_more_often(kms: KmsEmulator, known: int) -> bool:
    return len(kms.calls) > known


def test_a_key_in_kms_reveals_and_replaces(
    worker: Start, scene: Scene, kms: KmsEmulator, settings: Settings
) -> None:
    tokens = scene.mint(2)
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: statuses() == ["broadcast"])
    settings.TRANSACTION_TIMEOUT_SECONDS = 0.2
    drain.until(lambda: len(transactions()) > 1)
    settings.TRANSACTION_TIMEOUT_SECONDS = 60
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert {row.keeper for row in transactions()} == {KEEPER.address}
    # Only stored bytes went out.
    mined = {reveal.tx_hash for reveal in scene.chain.reveal_transactions()}
    assert mined <= {row.tx_hash for row in transactions()}


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        ((400, "DisabledException", "The key is disabled."), "Enable the key in AWS KMS"),
        ((400, "AccessDeniedException", "Not authorized: kms:Sign"), "Allow kms:Sign"),
        ((400, "ThrottlingException", "Rate exceeded"), "more slowly"),
        ((500, "KMSInternalException", ""), "No attempt is lost"),
    ],
)
def test_reveals_wait_for_a_signer_that_is_away_and_go_on_when_it_is_back(
    worker: Start, scene: Scene, kms: KmsEmulator, refusal: tuple[int, str, str], advice: str
) -> None:
    tokens = scene.mint(2)
    kms.refuse(*refusal)
    before = list(Token.objects.values_list("attempts", "status", "generation_error"))
    drain = worker()
    drain.until(lambda: is_held_back("signer"))
    assert refusal[1] in breaker_reason("signer")
    (cause,) = [cause for cause in find_causes() if cause.name == "signer"]
    assert cause.headline.startswith("Reveals paused")
    assert cause.stages == ("reveal",)
    assert advice in cause.advice
    # One batch waits, with its nonce, and no more tokens are bound to another.
    scene.mint(1)
    drain.settle(0.6)
    (waiting,) = unsigned()
    assert (waiting.nonce, waiting.items.count()) == (0, 2)
    assert RevealBatch.objects.count() == 1 and not RevealTransaction.objects.exists()
    assert list(Token.objects.order_by("pk").values_list(
        "attempts", "status", "generation_error"
    ))[:2] == before  # fmt: skip
    kms.reset()
    drain.until(lambda: scene.revealed_once(tokens))
    assert not is_held_back("signer")
    assert [cause for cause in find_causes() if cause.name == "signer"] == []
    assert len(transactions()[0].token_ids) == 2


def test_one_probe_at_a_time_asks_a_signer_that_is_away(
    worker: Start, scene: Scene, kms: KmsEmulator, settings: Settings
) -> None:
    settings.BATCH_REVEAL_MAX_TOKENS = 1
    kms.refuse(400, "DisabledException")
    tokens = scene.mint(3)
    drain = worker()
    drain.until(lambda: is_held_back("signer"))
    drain.rest()
    drain.step()
    for known in range(len(kms.calls), len(kms.calls) + 3):
        drain.until(partial(asked_more_often, kms, known))
        assert len(drain.drain.steps[2].under_way) <= 1
        assert len(kms.calls) == known + 1
    kms.reset()
    drain.until(lambda: scene.revealed_once(tokens))


def test_a_crash_after_signing_signs_anew_and_only_stored_bytes_go_out(
    worker: Start, scene: Scene, kms: KmsEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature of KMS differs each time: of two, one is stored, and the other is forgotten."""
    tokens = scene.mint(1)
    signed: list[Any] = []
    sign = Keeper.sign

    def remember(self: Keeper, **call: Any) -> Any:
        signed.append(sign(self, **call))
        return signed[-1]

    monkeypatch.setattr(Keeper, "sign", remember)
    first = worker()
    (step,) = (step for step in first.drain.steps if isinstance(step, Sign))
    first.until(lambda: step.under_way)
    while not signed:
        first.finished()  # taken away, before it is stored
    assert not transactions()
    first.crash()  # it has the bytes, and nobody else
    second = worker()
    second.until(lambda: scene.revealed_once(tokens))
    assert len({each.tx_hash for each in signed}) == len(signed) >= 2
    (row,) = transactions()
    assert row.tx_hash in {each.tx_hash for each in signed[1:]}
    # The first one's settlement, late: nothing is to be signed any more.
    assert not outbox.store_signed(RevealBatch.objects.get(), signed[0])
    assert len(transactions()) == 1


def test_two_drains_that_sign_at_once_store_one(
    worker: Start, scene: Scene, kms: KmsEmulator
) -> None:
    scene.mint(1)
    drain = worker()
    kms.refuse(400, "DisabledException")
    drain.until(unsigned)
    drain.rest()
    kms.reset()
    (batch,) = unsigned()
    ours, theirs = (Sign("a drain", Shared()).call(batch) for _ in range(2))
    assert ours.tx_hash != theirs.tx_hash
    assert outbox.store_signed(batch, theirs)
    assert not outbox.store_signed(batch, ours)
    assert [row.tx_hash for row in transactions()] == [theirs.tx_hash]


def test_bytes_of_another_key_are_never_stored(
    worker: Start, scene: Scene, kms: KmsEmulator, settings: Settings
) -> None:
    settings.KEEPER_KMS_KEY_ID = kms.create_key(ACCOUNTS[6].private_key)
    scene.mint(1)
    drain = worker()
    drain.until(lambda: is_held_back("signer"))
    assert KEEPER.address in breaker_reason("signer")
    assert not RevealTransaction.objects.exists()


def test_a_signer_that_lies_is_found_out(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it returns is read, whatever it says of itself."""
    liar = Keeper.from_settings()
    other = Keeper.from_settings()
    monkeypatch.setattr(liar, "address", ACCOUNTS[6].address)
    call: dict[str, Any] = {
        "nonce": 0,
        "data": "0x53de7804",
        "gas_limit": 200_000,
        "max_fee_per_gas_wei": 12_000_000,
        "max_priority_fee_per_gas_wei": 1_000_000,
    }
    assert other.sign(**call)
    with pytest.raises(Exception, match="not that of the keeper") as caught:
        liar.sign(**call)
    assert not isinstance(caught.value, TransientError)
