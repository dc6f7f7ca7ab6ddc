"""The two ends of linking an X account: where it begins, and where X sends the browser back to."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode

import structlog
from django.conf import settings
from django.http import HttpResponseRedirect
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from authors.signatures.actions import Action
from authors.signed_requests import (
    EXAMPLE_WALLET,
    REFUSALS,
    MessageField,
    SignatureField,
    SignedSerializer,
    SignedView,
)
from authors.x_linking import LIFETIME, LinkFailed, begin_link, finish_link, take_request
from glisk.api.exceptions import TryLater

logger = structlog.get_logger(__name__)

CALLBACK_PATH: Final = "/api/authors/x/callback"
COOKIE: Final = "glisk_x_link"
_ERROR_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_PARAMETER: Final = 2000


class XStartSerializer(SignedSerializer):
    message = MessageField(
        max_length=500,
        help_text="`Link X account for wallet: <wallet>`, or the message of "
        "GET /api/authors/{wallet}/nonce?action=link_x.",
    )
    signature = SignatureField(help_text="The wallet's signature of the message, hex.")


class XStartedSerializer(serializers.Serializer):
    authorization_url = serializers.URLField(help_text="Where to send the browser.")


class XStartView(SignedView):
    failure_detail = "Failed to initiate X OAuth. Please try again later."

    @extend_schema(
        operation_id="start_x_link",
        tags=["authors"],
        summary="Begin to link an X account",
        description="The browser has five minutes to come back from X. It is known again by a "
        "cookie, so that nobody can sign in at X for somebody else's wallet.",
        request=XStartSerializer,
        responses={200: XStartedSerializer, **REFUSALS},
        examples=[
            OpenApiExample(
                "start",
                value={
                    "wallet_address": EXAMPLE_WALLET,
                    "message": f"Link X account for wallet: {EXAMPLE_WALLET}",
                    "signature": "0x" + "5c" * 64 + "1b",
                },
                request_only=True,
            ),
            OpenApiExample(
                "started",
                value={"authorization_url": "https://x.com/i/oauth2/authorize?response_type=code"},
                status_codes=["200"],
            ),
            OpenApiExample(
                "no wallet",
                value={"detail": "Invalid Ethereum address: 0x12"},
                status_codes=["400"],
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        wallet, asked = self.read(request, XStartSerializer)
        if not settings.X_CLIENT_ID:
            raise TryLater("Linking X accounts is not set up on this server.")
        proof = self.prove(
            wallet=wallet,
            action=Action.LINK_X,
            value="",
            message=asked["message"],
            signature=asked["signature"],
        )
        begun = begin_link(proof)
        answer = Response({"authorization_url": begun.authorization_url})
        answer.set_cookie(
            COOKIE,
            begun.browser_key,
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
        summary="Where X sends the browser back to",
        description="Redirects to the frontend's profile page, whatever happened.",
        parameters=[
            OpenApiParameter(name, OpenApiTypes.STR)
            for name in ("code", "state", "error", "error_description")
        ],
        responses={302: OpenApiResponse(description="To /profile of the frontend.")},
    )
    def get(self, request: Request) -> HttpResponseRedirect:
        def given(name: str) -> str:
            text = request.query_params.get(name, "")
            return text if len(text) <= _MAX_PARAMETER else ""

        browser_key = request.COOKIES.get(COOKIE, "")
        state, code, error = given("state"), given("code"), given("error")
        try:
            if error:
                take_request(state=state, browser_key=browser_key)
                return _back(error=error if _ERROR_CODE.fullmatch(error) else "unexpected_error")
            if not state or not code:
                return _back(error="missing_params")
            return _back(username=finish_link(state=state, code=code, browser_key=browser_key))
        except LinkFailed as failure:
            return _back(error=failure.reason)
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
