"""Alchemy's events become tokens: each mint once, whatever else stands beside it."""

import pytest
from django.test import Client
from pytest_django import Settings

from tokens.models import Token
from webhooks.tests.sending import (
    ALCHEMY_URL,
    SAMPLE_FILE,
    SAMPLE_KEY,
    SAMPLE_SIGNATURE,
)

pytestmark = pytest.mark.django_db


def test_the_recorded_sample_becomes_tokens(client: Client, settings: Settings) -> None:
    settings.ALCHEMY_WEBHOOK_SECRETS = [SAMPLE_KEY]
    settings.NETWORK = "BASE_SEPOLIA"
    body = SAMPLE_FILE.read_bytes()
    response = client.post(
        ALCHEMY_URL,
        data=body,
        content_type="application/json",
        headers={"X-Alchemy-Signature": SAMPLE_SIGNATURE},
    )
    assert response.status_code == 200
    assert response.json() == {"status": "processed", "registered": 1, "tokens": 2}
    assert list(Token.objects.values_list("token_id", flat=True).order_by("token_id")) == [670, 671]
