"""What the endpoints share that act for a wallet: throttles, proof, words of refusal."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, ClassVar, Final

import structlog
from django.conf import settings
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from authors.models import Action
from authors.signatures.messages import InvalidMessage, Proof, legacy_message, prove
from authors.signatures.wallet_signature import MAX_SIGNATURE_BYTES, InvalidSignature
from glisk.api.exceptions import ErrorSerializer, TryLater
from glisk.api.json import StrictCharField
from glisk.api.throttling import SignedRequestThrottle, seconds_to_wait
from glisk.errors import ProviderError, TransientError
from glisk.fields import parse_wallet

logger = structlog.get_logger(__name__)

_THIS: Final = re.compile(r"\b([Tt])his (?:field|value)\b")
WRONG_WALLET = "Please ensure you're using the correct wallet."
# What the schema tells of any signed request, besides its success.
REFUSALS: Final = dict.fromkeys((400, 429, 500, 503), ErrorSerializer)


class SignatureField(StrictCharField):
    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("help_text", "The wallet's signature of the message, hex.")
        super().__init__(
            trim_whitespace=False, max_length=2 + 2 * MAX_SIGNATURE_BYTES + 2, **kwargs
        )


class MessageField(StrictCharField):
    """What was signed; of the wallet's own message, for which action."""

    def __init__(self, action: Action | None = None, **kwargs: Any) -> None:
        if action:
            kwargs["help_text"] = (
                f"`{legacy_message(action, '<wallet>')}`, or the message of "
                f"GET /api/authors/{{wallet}}/nonce?action={action}."
            )
        super().__init__(**{"trim_whitespace": False, "max_length": 2000, **kwargs})


class SignedSerializer(serializers.Serializer):
    # Subclasses add the wallet's `message` and `signature`. (The schema would show a docstring.)
    wallet_address = StrictCharField(help_text="The author's wallet.")


class SignedView(APIView):
    """A view whose caller proves to be a wallet; refusals are 400 with the reason."""

    throttle_classes = [SignedRequestThrottle]
    refusal = "Signature verification failed."
    action: ClassVar[Action]
    value_field = ""  # of the body: what the signature is for besides wallet and action

    def proven(
        self, request: Request, kind: type[SignedSerializer]
    ) -> tuple[Proof, dict[str, Any]]:
        """Return the wallet's consent and the checked body, and count a change of this wallet.

        Counted are proven changes only: otherwise anybody could use up somebody else's.
        """
        given = kind(data=request.data)
        if not given.is_valid():
            raise exceptions.ValidationError(_sentences(given.errors))
        asked: dict[str, Any] = given.validated_data
        wallet = require_wallet(asked["wallet_address"])
        try:
            proof = prove(
                wallet=wallet,
                action=self.action,
                value=str(asked.get(self.value_field, "")),
                message=asked["message"],
                signature=asked["signature"],
            )
        except ProviderError as error:
            logger.warning("signature_not_checked", wallet=wallet, error=str(error))
            raise try_later(
                "The chain does not answer, so the signature of a smart wallet cannot be "
                "checked. Please try again in a moment.",
                error,
            ) from None
        limit, window = settings.CHANGES_PER_HOUR, timedelta(hours=1)
        wait = seconds_to_wait(scope="wallet", subject=wallet, limit=limit, window=window)
        if wait is not None:
            raise exceptions.Throttled(wait=wait)
        return proof, asked

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, InvalidSignature | InvalidMessage):
            logger.info("signature_refused", reason=str(exc))
            said = str(exc)
            if isinstance(exc, InvalidSignature):
                said = f"{WRONG_WALLET} {exc.explanation}".rstrip()
            exc = exceptions.ValidationError(f"{self.refusal} {said}")
        return super().handle_exception(exc)


def _sentences(errors: Any) -> list[str]:
    """Return a serializer's errors as authors read them: their fields in words, if at all.

    Under a field's name stand the framework's own texts, which mostly say "this field"; ours are
    whole sentences, and stand under none.
    """
    sentences = [str(text) for text in errors.pop(api_settings.NON_FIELD_ERRORS_KEY, [])]
    for name, texts in errors.items():
        words = name.replace("_", " ")
        for text in texts:
            said = _THIS.sub(rf"\1he {words}", str(text))
            sentences.append(said if said != text else f"The {words} is not right: {text}")
    return sentences


def try_later(detail: str, error: ProviderError) -> TryLater:
    """Return a 503 that says when to try again, if the error does."""
    wait = error.retry_after_seconds if isinstance(error, TransientError) else None
    return TryLater(detail, wait=wait)


def require_wallet(text: str) -> str:
    """Return the wallet with its checksum; raise a 400 for anything that is none."""
    wallet = parse_wallet(text)
    if wallet is None:
        shown = text[:60].encode("ascii", "replace").decode("ascii")
        raise exceptions.ValidationError(f"Invalid Ethereum address: {shown}")
    return wallet
