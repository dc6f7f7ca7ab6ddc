"""A token's admin page tells what was let go, and which prompt was refused."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tokens.models import TokenTransition
from tokens.repairs import regenerate_tokens
from tokens.states import TokenStatus
from tokens.tests.repairs.stock import with_artefacts

pytestmark = pytest.mark.django_db


def test_old_artefacts_and_refused_prompts_stand_in_the_timeline(client: Client) -> None:
    token = with_artefacts(TokenStatus.READY)
    old = (str(token.image_cid), str(token.metadata_cid))
    TokenTransition.objects.create(
        token=token,
        from_status="generating",
        to_status="generating",
        actor="drain",
        detail={"censored": True, "original_prompt": "a nude <by> the sea"},
    )
    regenerate_tokens(token_ids=[token.pk], actor="operator alice", reason="a hand too many")
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(f"/admin/tokens/token/{token.pk}/change/").content.decode()
    assert "<b>original prompt</b> a nude &lt;by&gt; the sea" in page
    assert f"<b>old image cid</b> {old[0]}" in page
    assert f"<b>old metadata cid</b> {old[1]}" in page
    assert f"<b>old prediction</b> prediction{token.pk}" in page
    assert "<b>old cost usd</b> 0.003000" in page
    assert "regenerated: a hand too many" in page
