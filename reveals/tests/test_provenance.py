"""What strangers are told of a token: all that they need once it is revealed, nothing before."""

from __future__ import annotations

import json

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from authors.models import Author
from glisk.verify import canonical_json, prompt_digest
from glisk.verify.checks import Verdict, verify
from reveals.models import RevealTransaction
from reveals.provenance import bundle_of, bundles
from reveals.tests.factories import RevealBatchFactory
from tokens.models import ImageGenerationJob, Token, TokenImage, TokenTransition
from tokens.pipeline.collect import origin_of
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory, hash32

pytestmark = pytest.mark.django_db

SALT = "5a" * 16


def a_token(status: TokenStatus = TokenStatus.REVEALED) -> Token:
    """Make a token of whom everything is known that a bundle says."""
    token: Token = TokenFactory.create(status=status, author__prompt_text="a fox in the snow")
    job = ImageGenerationJob.objects.create(
        token=token, prompt=token.prompt, input={"prompt": token.prompt, "seed": 7},
        service="replicate", model="m", external_id=f"prediction{token.pk}", attempt_number=1,
        status="captured", completed_at=timezone.now(),
    )  # fmt: skip
    TokenImage.objects.create(
        token=token, data=None, mime_type="image/png", extension="png",
        width=1, height=1, size_bytes=1, sha256="00" * 32,
    )  # fmt: skip
    TokenTransition.objects.create(
        token=token, from_status="generating", to_status="uploading", actor="test",
        detail={"sha256": "00" * 32, "prompt_salt": SALT},
    )  # fmt: skip
    image_cid = token.image_cid or "none"
    document = {
        "image": f"ipfs://{image_cid}",
        "name": f"GLISK S0 #{token.pk}",
        "provenance": origin_of(job, salt=SALT),
    }
    token.metadata_text = canonical_json(document)
    token.save()
    if token.reveal_tx_hash:
        batch = RevealBatchFactory.create(tokens=[token], status="confirmed")
        RevealTransaction.objects.filter(batch=batch).update(
            status="confirmed", tx_hash=token.reveal_tx_hash, block_number=9, block_hash=hash32(9)
        )
    return token


def url_of(token_id: int) -> str:
    return f"/api/tokens/{token_id}/provenance"


def test_nothing_is_told_before_the_reveal(client: Client) -> None:
    unknown = client.get(url_of(999_999_999))
    assert unknown.status_code == 404
    assert client.get(url_of(10**30)).status_code == 404
    for status in TokenStatus:
        token = a_token(status)
        told = client.get(url_of(token.pk))
        if status == TokenStatus.REVEALED:
            assert told.json()["token_id"] == token.pk
        else:
            assert (told.status_code, told.content) == (404, unknown.content)
    assert [bundle["token_id"] for bundle in bundles()] == [
        token.pk for token in Token.objects.filter(status="revealed")
    ]


def test_of_what_somebody_else_revealed_there_is_none() -> None:
    token = a_token()
    assert bundle_of(token.pk)
    Token.objects.update(adopted_uri="ipfs://x")
    assert bundle_of(token.pk) is None


def test_a_private_prompt_stays_private_and_the_author_opens_it(client: Client) -> None:
    token = a_token()
    told = client.get(url_of(token.pk))
    assert b"a fox" not in told.content
    assert SALT.encode() not in told.content
    digest = told.json()["generation"]["prompt_sha256"]
    assert digest == prompt_digest(salt=SALT, prompt="a fox in the snow")

    Author.objects.update(prompt_is_public=True, prompt_text="a later prompt")
    made = client.get(url_of(token.pk)).json()["generation"]
    assert made["prompt"] == "a fox in the snow"
    assert prompt_digest(salt=made["prompt_salt"], prompt=made["prompt"]) == digest


def test_a_prompt_that_was_bound_by_nothing_is_not_said_to_be() -> None:
    """Tokens of before the digest: their metadata say nothing, and a bundle could say anything."""
    token = a_token()
    Author.objects.update(prompt_is_public=True)
    TokenTransition.objects.update(detail={"sha256": "00" * 32})
    document = json.loads(token.metadata_text or "")
    del document["provenance"]
    Token.objects.update(metadata_text=canonical_json(document))
    bundle = bundle_of(token.pk)
    assert bundle is not None
    assert bundle["generation"]["prompt_sha256"] == ""
    checks = {check.what: check.verdict for check in verify(bundle, gateway=None, node=None)}
    assert checks["The prompt is the one that was bound"] == Verdict.UNTOLD
    assert checks["The metadata binds the prompt"] == Verdict.UNTOLD


def test_it_costs_few_queries_and_is_kept_by_caches(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    tokens = [a_token() for _ in range(3)]
    with django_assert_num_queries(4):
        answer = client.get(url_of(tokens[0].pk))
    assert answer["Cache-Control"] == "public, max-age=60"
    assert (
        client.get(url_of(tokens[0].pk), headers={"If-None-Match": answer["ETag"]}).status_code
        == 304
    )
    with django_assert_num_queries(4):
        assert len(list(bundles())) == 3
