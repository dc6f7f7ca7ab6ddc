"""Image bytes go some days after the reveal; what they were stays, and every page copes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from glisk.engine import schedules
from tokens import purging
from tokens.models import Token, TokenImage
from tokens.purging import purge_images
from tokens.repairs import regenerate_tokens, retry_tokens
from tokens.states import TokenStatus
from tokens.tests.repairs.stock import put_in_batch, with_artefacts

pytestmark = pytest.mark.django_db


def revealed(*, days_ago: float, status: TokenStatus = TokenStatus.REVEALED) -> Token:
    token = with_artefacts(status)
    moment = timezone.now() - timedelta(days=days_ago)
    Token.objects.filter(pk=token.pk).update(
        status_changed_at=moment, revealed_at=moment if status == TokenStatus.REVEALED else None
    )
    TokenImage.objects.filter(pk=token.pk).update(created_at=moment)
    token.refresh_from_db()
    return token


def kept() -> set[int]:
    return set(TokenImage.objects.filter(data__isnull=False).values_list("pk", flat=True))


def test_only_the_bytes_go() -> None:
    token = revealed(days_ago=4)
    before = dict(TokenImage.objects.filter(pk=token.pk).values().get())
    assert purge_images() == 1
    after = dict(TokenImage.objects.filter(pk=token.pk).values().get())
    assert after.pop("data") is None
    assert before.pop("data") is not None
    assert after == before
    assert {"sha256", "size_bytes", "mime_type", "width", "height"} <= set(after)
    assert purge_images() == 0


def test_the_days_are_counted_from_the_reveal(settings: Settings) -> None:
    settings.IMAGE_RETENTION_DAYS = 5
    old, young = revealed(days_ago=5.01), revealed(days_ago=4.99)
    late = revealed(days_ago=9)
    Token.objects.filter(pk=late.pk).update(revealed_at=timezone.now())
    adopted = revealed(days_ago=9)
    Token.objects.filter(pk=adopted.pk).update(revealed_at=None, adopted_uri="ipfs://x")
    back = revealed(days_ago=9)  # adopted lately, though it was revealed long ago
    Token.objects.filter(pk=back.pk).update(status_changed_at=timezone.now())
    assert purge_images() == 2
    assert kept() == {young.pk, late.pk, back.pk}
    assert old.pk not in kept()


def test_what_is_not_revealed_keeps_its_bytes() -> None:
    for status in set(TokenStatus) - {TokenStatus.REVEALED}:
        revealed(days_ago=400, status=status)
    assert purge_images() == 0


def test_a_reveal_that_a_reorg_may_take_back_keeps_its_bytes() -> None:
    put_in_batch(revealed(days_ago=9))
    put_in_batch(revealed(days_ago=9), is_open=False)
    settled = revealed(days_ago=9)
    put_in_batch(settled, is_open=False, settled=True)
    assert purge_images() == 1
    assert settled.pk not in kept()


def test_many_are_purged_in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "ROWS_AT_ONCE", 2)
    for _ in range(5):
        revealed(days_ago=9)
    assert purge_images() == 5
    monkeypatch.setattr(purging, "BUDGET_SECONDS", 0.0)
    assert purge_images() == 0  # what does not fit waits for tomorrow


def test_the_daily_housekeeping_purges() -> None:
    revealed(days_ago=9)
    assert schedules.purge() >= 1
    assert kept() == set()


def test_pages_and_repairs_cope_with_bytes_that_are_gone(client: Client) -> None:
    token = revealed(days_ago=9)
    purge_images()
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(f"/admin/tokens/token/{token.pk}/change/")
    assert page.status_code == 200
    assert str(token.image_cid) in page.content.decode()  # shown from the gateway
    assert client.get("/admin/tokens/token/").status_code == 200
    for picture in ("picture", "thumbnail"):
        assert client.get(f"/admin/tokens/token/{token.pk}/{picture}/").status_code == 404
    assert client.get("/").status_code == 200
    (again,) = regenerate_tokens(token_ids=[token.pk], actor="operator alice", reason="odd")
    assert not again.done
    failed = revealed(days_ago=9, status=TokenStatus.UPLOADING)
    failed.mark_failed("It broke.")
    TokenImage.objects.filter(pk=failed.pk).update(data=None)
    (retried,) = retry_tokens(token_ids=[failed.pk], actor="operator alice")
    assert "regenerate" in retried.message
    (made,) = regenerate_tokens(token_ids=[failed.pk], actor="operator alice", reason="bytes gone")
    assert made.done
