"""A prompt may hold anything: nobody's page, log or vendor takes it for more than text."""

import json

import pytest
from django.test import Client
from django.urls import reverse

from authors.tests.factories import AuthorFactory
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Start, Vendors, is_ready

PROMPT = (
    "</script><script>alert(1)</script> {{ 7*7 }} {% debug %} '; DROP TABLE authors; --\n"
    '2026-01-01T00:00:00Z [error] made_up token_id=1 "\x1b[31m \u202e ${jndi:ldap://x}'
)


@pytest.mark.pages
@pytest.mark.django_db
def test_a_prompt_is_text_on_every_page_and_goes_to_the_vendor_as_it_is(
    worker: Start, vendors: Vendors, admin_client: Client, client: Client
) -> None:
    author = AuthorFactory.create(prompt_text=PROMPT)
    token = TokenFactory.create(author=author, prompt=PROMPT)
    worker().until(is_ready(token))
    assert [prediction.input["prompt"] for prediction in vendors.predictions] == [PROMPT]
    token.refresh_from_db()
    metadata = json.loads(token.metadata_text or "")
    assert metadata["image"] == f"ipfs://{token.image_cid}"
    for page in (
        admin_client.get(reverse("admin:tokens_token_change", args=[token.pk])),
        admin_client.get(reverse("admin:tokens_token_changelist")),
        admin_client.get(reverse("admin:authors_author_change", args=[author.pk])),
        admin_client.get(reverse("admin:authors_author_changelist")),
        client.get("/"),
    ):
        assert page.status_code == 200
        text = page.content.decode()
        assert "<script>alert(1)" not in text
        assert "{{ 7*7 }}" in text or "7*7" not in text
        assert "49 {% debug" not in text
