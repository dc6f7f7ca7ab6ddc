"""Alchemy's webhook takes only what its signing keys have signed."""

import json

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from webhooks.authentication import sign_alchemy_body
from webhooks.models import WebhookEvent
from webhooks.tests.sending import (
    ALCHEMY_URL,
    SAMPLE_FILE,
    SAMPLE_KEY,
    SAMPLE_SIGNATURE,
    block_event,
    block_log,
)
from webhooks.tests.webhook_cases import SignedWebhookCases


class TestAlchemyWebhook(SignedWebhookCases):
    url = ALCHEMY_URL
    signature_header = "X-Alchemy-Signature"

    def signed_headers(self, body: bytes, *, key: str | None = None) -> dict[str, str]:
        key = key or django_settings.ALCHEMY_WEBHOOK_SECRETS[0]
        return {self.signature_header: sign_alchemy_body(body, key)}

    def body(self) -> bytes:
        return json.dumps(block_event([block_log()])).encode()

    @pytest.mark.django_db
    def test_any_key_of_a_rotation_is_good(self, settings: Settings) -> None:
        settings.ALCHEMY_WEBHOOK_SECRETS = ["whsec_old_key", "whsec_new_key"]
        for key, status in (("whsec_old_key", 200), ("whsec_new_key", 200), ("whsec_other", 401)):
            headers = self.signed_headers(self.body(), key=key)
            assert self.send(self.body(), headers).status_code == status

    def test_without_a_key_nothing_is_signed(self, settings: Settings) -> None:
        for keys in ([], [""]):
            settings.ALCHEMY_WEBHOOK_SECRETS = keys
            headers = {self.signature_header: sign_alchemy_body(self.body(), "")}
            assert self.send(self.body(), headers).status_code == 503
            assert self.send(self.body(), {}).status_code == 503

    @pytest.mark.django_db
    def test_a_refused_body_is_not_stored(self) -> None:
        self.send(self.body(), {self.signature_header: "0" * 64})
        assert not WebhookEvent.objects.exists()


def test_signatures_are_those_of_the_published_vectors() -> None:
    for body, signature in (
        (b'{"a":1}', "51426af50a41dd7ff2cd3f116594734766d4018d15d6fb07169aee5d2959adf5"),
        (SAMPLE_FILE.read_bytes(), SAMPLE_SIGNATURE),
    ):
        assert sign_alchemy_body(body, SAMPLE_KEY) == signature
