"""Sign-in with X: OAuth 2.0 with PKCE (https://docs.x.com, "OAuth 2.0 Authorization Code Flow").

What is asked and how an answer is read is oauthlib's: a library without transport, so that calls
keep our timeouts, bounded bodies and error tree (requests-oauthlib and Authlib bring sessions of
their own, and Authlib a compiled crypto library that nothing here needs).
"""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings

from glisk.clients.http import Fault, HttpClient, HttpOptions, Reply
from glisk.errors import InvalidRequestError, TransientError

VENDOR: Final = "x"
# users/me needs both, although only the user is read.
_SCOPES: Final = ["tweet.read", "users.read"]


class XClient:
    """Our application at X, by the X_* settings; without a secret it is a public client.

    Its access tokens live as long as the call that reads the user.
    """

    def __init__(self) -> None:
        self._http = HttpClient(
            vendor=VENDOR,
            base_url=settings.X_API_URL,
            options=HttpOptions.from_settings(longest=settings.LINK_TIMEOUT_SECONDS),
            read_fault=_read_fault,
        )
        self.close = self._http.close

    def authorization(self, *, state: str) -> tuple[str, str]:
        """Return where to send the user, and a fresh verifier, which stays with us until then."""
        client = _oauth()
        verifier = client.create_code_verifier(64)
        # oauthlib refuses plain HTTP, which the emulator speaks: `check --deploy` looks at the
        # setting instead, and the library makes the query for any address.
        made = client.prepare_request_uri(
            "https://x.com/",
            redirect_uri=settings.X_REDIRECT_URI,
            scope=_SCOPES,
            state=state,
            code_challenge=client.create_code_challenge(verifier, "S256"),
            code_challenge_method="S256",
        )
        # X writes the blank between scopes as %20, as any URL may; the library as a form does.
        query = urlsplit(made).query.replace("+", "%20")
        return f"{settings.X_AUTHORIZE_URL}?{query}", verifier

    def exchange(self, *, code: str, code_verifier: str) -> str:
        """Exchange a code (30 s of life, one use) for an access token.

        Raises InvalidRequestError if X refuses the code, or another `ProviderError`.
        """
        from oauthlib.oauth2 import OAuth2Error

        client, secret = _oauth(), settings.X_CLIENT_SECRET
        body = client.prepare_request_body(
            code=code,
            redirect_uri=settings.X_REDIRECT_URI,
            code_verifier=code_verifier,
            include_client_id=not secret,
        )
        headers = {}
        if secret:
            pair = f"{settings.X_CLIENT_ID}:{secret}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
        reply = self._http.call(
            "POST", "/2/oauth2/token", idempotent=False, data=dict(parse_qsl(body)), headers=headers
        )
        token = None
        if reply.json_object():
            with suppress(OAuth2Error, ValueError, TypeError, AttributeError):
                token = client.parse_request_body_response(reply.body.decode("utf-8"))
        access_token = (token or {}).get("access_token")
        if not isinstance(access_token, str) or not access_token.isascii():
            # Not with an excerpt of the reply: it may hold a token.
            raise TransientError("x: no access token came.", vendor=VENDOR, code="bad_reply")
        return access_token

    def username(self, *, access_token: str) -> str:
        """Return the name of the token's user; raises a `ProviderError` if X names nobody."""
        reply = self._http.call(
            "GET",
            "/2/users/me",
            idempotent=True,
            headers={"Authorization": f"Bearer {access_token}"},
        )
        user = reply.json_object().get("data")
        name = user.get("username") if isinstance(user, dict) else None
        if not isinstance(name, str) or not name:
            raise TransientError("x: users/me names no user.", vendor=VENDOR, code="bad_reply")
        return name


def _oauth() -> Any:
    from oauthlib.oauth2 import WebApplicationClient

    return WebApplicationClient(settings.X_CLIENT_ID)


def _read_fault(reply: Reply) -> Fault:
    """Read `{"error", "error_description"}` (OAuth) or `{"title", "detail"}` (API)."""
    answer = reply.json_object()
    code = answer.get("error")
    texts = [answer.get(name) for name in ("error_description", "title", "detail")]
    return Fault(
        ": ".join(text for text in texts if isinstance(text, str)) or reply.excerpt(),
        code=code if isinstance(code, str) else None,
        kind=InvalidRequestError if code in ("invalid_grant", "invalid_request") else None,
    )
