"""Linking an X account to a wallet: the wallet asks, X says who its owner is there.

State and verifier are kept in the database, so that any process on any machine can take the
callback; each works once, for five minutes, and only in the browser that began: otherwise an
attacker could begin with the own wallet and have somebody else sign in at X for it.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from authors.models import XLinkRequest
from authors.onboarding import NewAuthor, onboard_author
from authors.signatures.proof import Proof
from glisk.clients.x import XClient
from glisk.engine.purging import delete_in_portions
from glisk.errors import GliskError, ProviderError

logger = structlog.get_logger(__name__)

LIFETIME: Final = timedelta(minutes=5)

Failure = Literal["state_mismatch", "token_exchange_failed", "validation_failed"]


class LinkFailed(GliskError):
    """The account was not linked; `reason` is the word that the frontend gets."""

    error_class = "x_link"

    def __init__(self, reason: Failure) -> None:
        self.reason: Failure = reason
        super().__init__(f"X account not linked: {reason}")


@dataclass(frozen=True)
class Beginning:
    """Where to send the user, and what the browser must bring back."""

    authorization_url: str
    browser_key: str


def begin_link(proof: Proof) -> Beginning:
    """Store a request for the wallet and return where its owner signs in."""
    state, browser_key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    client = XClient.from_settings()
    try:
        authorization = client.authorization(state=state)
    finally:
        client.close()
    with transaction.atomic():
        proof.spend()
        purge_link_requests()  # no verifier stays longer than it can be used
        XLinkRequest.objects.create(
            state_hash=_hash(state),
            browser_hash=_hash(browser_key),
            wallet_address=proof.wallet,
            code_verifier=authorization.code_verifier,
            expires_at=timezone.now() + LIFETIME,
        )
    return Beginning(authorization.url, browser_key)


def finish_link(*, state: str, code: str, browser_key: str) -> str:
    """Use up the request of this state, ask X for the user, link the account; return its name.

    Raises:
        LinkFailed: there is no such request, or X did not confirm it.
    """
    request = take_request(state=state, browser_key=browser_key)
    if request is None:
        raise LinkFailed("state_mismatch")
    client = XClient.from_settings()
    try:
        username = _username(client, code, request.code_verifier)
    finally:
        client.close()
    try:
        onboard_author(
            NewAuthor(request.wallet_address, twitter_handle=username),
            actor="wallet",
            needs_prompt=False,
        )
    except ValidationError:
        logger.warning("x_username_refused", username=username)
        raise LinkFailed("validation_failed") from None
    logger.info("x_account_linked", wallet=request.wallet_address, username=username)
    return username


def take_request(*, state: str, browser_key: str) -> XLinkRequest | None:
    """Remove and return the request of this state; of several callers at once one gets it."""
    found = XLinkRequest.objects.filter(state_hash=_hash(state), expires_at__gt=timezone.now())
    if settings.X_SAME_BROWSER:
        found = found.filter(browser_hash=_hash(browser_key))
    request = found.first()
    # Of several who read the row at the same moment, one deletes it.
    taken = request is not None and XLinkRequest.objects.filter(pk=request.pk).delete()[0]
    return request if taken else None


def purge_link_requests() -> int:
    """Delete the requests that nobody can finish any more; return how many."""
    over = XLinkRequest.objects.filter(expires_at__lte=timezone.now())
    return delete_in_portions(over.order_by("expires_at"))


def _username(client: XClient, code: str, code_verifier: str) -> str:
    try:
        access_token = client.exchange(code=code, code_verifier=code_verifier)
    except ProviderError as error:
        logger.warning("x_token_exchange_failed", error=str(error))
        raise LinkFailed("token_exchange_failed") from None
    try:
        return client.username(access_token=access_token)
    except ProviderError as error:
        logger.warning("x_user_unknown", error=str(error))
        raise LinkFailed("validation_failed") from None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
