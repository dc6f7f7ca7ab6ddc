"""Linking an X account to a wallet: the wallet asks, X says who its owner is there.

State and verifier are kept in the database, so that any process on any machine can take the
callback; each works once, for five minutes, and only in the browser that began: otherwise an
attacker could begin with the own wallet and have somebody else sign in at X for it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponseRedirect
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from authors.models import Action, XLinkRequest
from authors.onboarding import NewAuthor, onboard_author
from authors.signatures.messages import Proof, hash_of
from authors.signed_requests import (
    REFUSALS,
    MessageField,
    SignatureField,
    SignedSerializer,
    SignedView,
)
from glisk.api.exceptions import TryLater
from glisk.clients.x import XClient
from glisk.errors import GliskError, ProviderError

logger = structlog.get_logger(__name__)

LIFETIME: Final = timedelta(minutes=5)
CALLBACK_PATH: Final = "/api/authors/x/callback"
COOKIE: Final = "glisk_x_link"
_ERROR_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class LinkFailed(GliskError):
    """The account was not linked; its text is the word that the frontend gets."""

    error_class = "x_link"


def begin_link(proof: Proof) -> tuple[str, str]:
    """Store a request for the wallet; return where its owner signs in, and the browser's key."""
    state, browser_key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    with closing(XClient()) as client:
        url, verifier = client.authorization(state=state)
    with transaction.atomic():
        proof.spend()
        # No verifier stays longer than it can be used.
        XLinkRequest.objects.filter(expires_at__lte=timezone.now()).delete()
        XLinkRequest.objects.create(
            state_hash=hash_of(state),
            browser_hash=hash_of(browser_key),
            wallet_address=proof.wallet,
            code_verifier=verifier,
            expires_at=timezone.now() + LIFETIME,
        )
    return url, browser_key


def finish_link(*, state: str, code: str, browser_key: str) -> str:
    """Use up the request of this state, ask X for the user, link the account; return its name.

    Raises:
        LinkFailed: there is no such request, or X did not confirm it.
    """
    request = take_request(state=state, browser_key=browser_key)
    if request is None:
        raise LinkFailed("state_mismatch")
    with closing(XClient()) as client:
        with _failing_as("token_exchange_failed"):
            token = client.exchange(code=code, code_verifier=request.code_verifier)
        with _failing_as("validation_failed"):
            username = client.username(access_token=token)
            new = NewAuthor(request.wallet_address, twitter_handle=username)
            onboard_author(new, actor="wallet", needs_prompt=False)
    logger.info("x_account_linked", wallet=request.wallet_address, username=username)
    return username


@contextmanager
def _failing_as(reason: str) -> Iterator[None]:
    try:
        yield
    except (ProviderError, ValidationError) as error:
        logger.warning("x_link_failed", reason=reason, error=str(error))
        raise LinkFailed(reason) from None


def take_request(*, state: str, browser_key: str) -> XLinkRequest | None:
    """Remove and return the request of this state; of several callers at once one gets it."""
    found = XLinkRequest.objects.filter(state_hash=hash_of(state), expires_at__gt=timezone.now())
    if settings.X_SAME_BROWSER:
        found = found.filter(browser_hash=hash_of(browser_key))
    request = found.first()
    # Of several who read the row at the same moment, one deletes it.
    taken = request is not None and XLinkRequest.objects.filter(pk=request.pk).delete()[0]
    return request if taken else None


class XStartSerializer(SignedSerializer):
    message = MessageField(Action.LINK_X, max_length=500)
    signature = SignatureField()


class XStartedSerializer(serializers.Serializer):
    authorization_url = serializers.URLField(help_text="Where to send the browser.")


class XStartView(SignedView):
    action = Action.LINK_X
    failure_detail = "Failed to initiate X OAuth. Please try again later."

    @extend_schema(
        operation_id="start_x_link",
        tags=["authors"],
        summary="Start to link an X account",
        description="The browser has five minutes to come back from X. It is known again by a "
        "cookie, so that nobody can sign in at X for somebody else's wallet.",
        request=XStartSerializer,
        responses={200: XStartedSerializer, **REFUSALS},
    )
    def post(self, request: Request) -> Response:
        if not settings.X_CLIENT_ID:
            raise TryLater("Linking X accounts is not set up on this server.")
        proof, _ = self.proven(request, XStartSerializer)
        authorization_url, browser_key = begin_link(proof)
        answer = Response({"authorization_url": authorization_url})
        answer.set_cookie(
            COOKIE,
            browser_key,
            max_age=int(LIFETIME.total_seconds()),
            path=CALLBACK_PATH,
            secure=settings.X_REDIRECT_URI.startswith("https://"),
            httponly=True,
            samesite="Lax",  # X sends the browser back by a link from its own site
        )
        return answer


class XCallbackView(APIView):
    @extend_schema(
        operation_id="finish_x_link",
        tags=["authors"],
        summary="Finish the link to an X account: X sends the browser here",
        description="Redirects to the frontend's profile page, whatever happened.",
        parameters=[
            OpenApiParameter(name, OpenApiTypes.STR)
            for name in ("code", "state", "error", "error_description")
        ],
        responses={302: OpenApiResponse(description="To /profile of the frontend.")},
    )
    def get(self, request: Request) -> HttpResponseRedirect:
        browser_key = request.COOKIES.get(COOKIE, "")
        state, code, error = (
            request.query_params.get(name, "") for name in ("state", "code", "error")
        )
        try:
            if error:
                take_request(state=state, browser_key=browser_key)
                return _back(error=error if _ERROR_CODE.fullmatch(error) else "unexpected_error")
            if not state or not code:
                return _back(error="missing_params")
            return _back(username=finish_link(state=state, code=code, browser_key=browser_key))
        except LinkFailed as failure:
            return _back(error=str(failure))
        except Exception:
            # The person stands on a page of ours now: they go back to the frontend in any case.
            logger.exception("x_callback_failed")
            return _back(error="unexpected_error")


def _back(**outcome: str) -> HttpResponseRedirect:
    """Redirect to the frontend; nothing of the request decides where that is."""
    linked = "true" if "username" in outcome else "false"
    query = urlencode({"tab": "author", "x_linked": linked, **outcome})
    answer = HttpResponseRedirect(f"{settings.FRONTEND_URL}/profile?{query}")
    answer["Cache-Control"] = "no-store"
    answer.delete_cookie(COOKIE, path=CALLBACK_PATH, samesite="Lax")
    return answer
