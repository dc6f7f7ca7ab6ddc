"""A delivery passes what guards every request."""

import pytest
from django.test import Client


@pytest.mark.django_db
def test_every_answer_has_the_security_headers_and_a_request_id() -> None:
    for url in ("/webhooks/alchemy", "/webhooks/replicate", "/admin/login/", "/health"):
        answer = Client().get(url, headers={"X-Request-Id": "given-1"})
        assert answer["X-Request-Id"] == "given-1"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["X-Frame-Options"] == "DENY"
        assert answer["Referrer-Policy"] == "same-origin"
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer["Content-Length"] == str(len(answer.content))
