"""What the endpoints share that act for a wallet: throttles, proof, words of refusal."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

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

MAX_MESSAGE_LENGTH = 2000
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

    def __init__(
        self, action: Action | None = None, *, max_length: int = MAX_MESSAGE_LENGTH, **kwargs: Any
    ) -> None:
        if action:
            kwargs["help_text"] = (
                f"`{legacy_message(action, '<wallet>')}`, or the message of "
                f"GET /api/authors/{{wallet}}/nonce?action={action}."
            )
        super().__init__(trim_whitespace=False, max_length=max_length, **kwargs)


class SignedSerializer(serializers.Serializer):
    wallet_address = StrictCharField(help_text="The author's wallet.")


class SignedView(APIView):
    """A view whose caller proves to be a wallet; refusals are 400 with the reason."""

    throttle_classes = [SignedRequestThrottle]
    refusal = "Signature verification failed."

    def read(self, request: Request, kind: type[SignedSerializer]) -> tuple[str, dict[str, Any]]:
        """Return the wallet with its checksum, and the checked body; raise a 400 in words."""
        given = kind(data=request.data)
        if not given.is_valid():
            raise exceptions.ValidationError(_sentences(given.errors))
        asked: dict[str, Any] = given.validated_data
        return require_wallet(asked["wallet_address"]), asked

    def prove(self, *, wallet: str, action: Action, value: str, **signed: str) -> Proof:
        """Check `message` and `signature`, and count a change of this wallet.

        Counted are proven changes only: otherwise anybody could use up somebody else's.
        """
        try:
            proof = prove(wallet=wallet, action=action, value=value, **signed)
        except ProviderError as error:
            logger.warning("signature_not_checked", wallet=wallet, error=str(error))
            raise TryLater(
                "The chain does not answer, so the signature of a smart wallet cannot be "
                "checked. Please try again in a moment.",
                wait=seconds_until_retry(error),
            ) from None
        wait = seconds_to_wait(
            scope="wallet",
            subject=wallet,
            limit=settings.CHANGES_PER_HOUR,
            window=timedelta(hours=1),
        )
        if wait is not None:
            raise exceptions.Throttled(wait=wait)
        return proof

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, InvalidSignature):
            logger.info("signature_refused", fault=exc.fault)
            text = f"{self.refusal} {WRONG_WALLET} {exc.explanation}".rstrip()
            exc = exceptions.ValidationError(text)
        elif isinstance(exc, InvalidMessage):
            logger.info("message_refused", reason=str(exc))
            exc = exceptions.ValidationError(f"{self.refusal} {exc}")
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


def seconds_until_retry(error: ProviderError) -> float | None:
    """Return what an error says of when to try again, if it does."""
    return error.retry_after_seconds if isinstance(error, TransientError) else None


def require_wallet(text: str) -> str:
    """Return the wallet with its checksum; raise a 400 for anything that is none."""
    wallet = parse_wallet(text)
    if wallet is None:
        shown = text[:60].encode("ascii", "replace").decode("ascii")
        raise exceptions.ValidationError(f"Invalid Ethereum address: {shown}")
    return wallet
