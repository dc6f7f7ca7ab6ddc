"""Signatures of Replicate webhooks, against published vectors and the official SDK."""

from __future__ import annotations

import pytest

from sandbox.replicate.predictions import sign
from webhooks.authentication import WebhookSignatureError, verify_replicate

ID, STAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
VECTORS = [
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX",
        "v1,/485aUtxlie+TIScVpHggMfqOB4so2KWb7+Gf727B44=",
    ),
]
SECRET, SIGNATURE = VECTORS[0]


def headers(**changes: str) -> dict[str, str]:
    shown = {
        "webhook-id": ID,
        "webhook-timestamp": str(STAMP),
        "webhook-signature": SIGNATURE,
    }
    return shown | {name.replace("_", "-"): value for name, value in changes.items()}


@pytest.mark.parametrize(("secret", "signature"), VECTORS)
def test_published_vectors_are_accepted(secret: str, signature: str) -> None:
    given = headers(webhook_signature=signature)
    assert verify_replicate(given, BODY, [secret], now=STAMP) == ID
    assert sign(secret, ID, str(STAMP), BODY) == signature  # the sandbox's


def test_any_key_of_the_list_will_do() -> None:
    assert verify_replicate(headers(), BODY, [VECTORS[1][0], SECRET], now=STAMP) == ID


def test_any_signature_of_the_header_will_do() -> None:
    offered = f"v1,!!! v1a,{SIGNATURE[3:]} v1,{'A' * 43}= {SIGNATURE}"
    assert verify_replicate(headers(webhook_signature=offered), BODY, [SECRET], now=STAMP) == ID


def test_old_and_future_deliveries_are_refused_but_for_a_small_drift() -> None:
    for drift in (-300, 0, 300):
        assert verify_replicate(headers(), BODY, [SECRET], now=STAMP + drift) == ID
    for drift in (-301, 301, 86_400 * 365):
        with pytest.raises(WebhookSignatureError, match="clock"):
            verify_replicate(headers(), BODY, [SECRET], now=STAMP + drift)
    with pytest.raises(WebhookSignatureError, match="clock"):
        verify_replicate(headers(), BODY, [SECRET])


@pytest.mark.parametrize(
    ("given", "body"),
    [
        (headers(), BODY + b" "),
        (headers(webhook_id="msg_other"), BODY),
        (headers(webhook_timestamp=str(STAMP + 1)), BODY),
        (headers(webhook_timestamp="-1"), BODY),
        (headers(webhook_timestamp="²"), BODY),
        (headers(webhook_timestamp="9" * 400), BODY),
        (headers(webhook_id=""), BODY),
        (headers(webhook_id="ünïcode\udcff"), BODY),
        (headers(webhook_signature=""), BODY),
        (headers(webhook_signature="v1"), BODY),
        (headers(webhook_signature="v1,"), BODY),
        (headers(webhook_signature="v1,ü"), BODY),
        (headers(webhook_signature=SIGNATURE[3:]), BODY),
        (headers(webhook_signature="v2," + SIGNATURE[3:]), BODY),
        ({}, BODY),
    ],
)
def test_anything_altered_or_malformed_is_refused(given: dict[str, str], body: bytes) -> None:
    with pytest.raises(WebhookSignatureError):
        verify_replicate(given, body, [SECRET], now=STAMP)


@pytest.mark.parametrize("secrets", [[], [""], ["whsec_"], ["whsec_ü"], ["   "]])
def test_without_a_usable_key_nothing_is_accepted(secrets: list[str]) -> None:
    """An empty key would let anyone sign."""
    import base64
    import hashlib
    import hmac

    forged = hmac.digest(b"", b"%b.%d.%b" % (ID.encode(), STAMP, BODY), hashlib.sha256)
    given = headers(webhook_signature="v1," + base64.b64encode(forged).decode())
    with pytest.raises(WebhookSignatureError, match="no usable signing key"):
        verify_replicate(given, BODY, secrets, now=STAMP)
