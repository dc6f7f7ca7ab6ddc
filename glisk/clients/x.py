"""Sign-in with X: OAuth 2.0 with PKCE (https://docs.x.com, "OAuth 2.0 Authorization Code Flow").

What is asked and how an answer is read is oauthlib's: a library without transport, so that calls
keep our timeouts, bounded bodies and error tree (requests-oauthlib and Authlib bring sessions of
their own, and Authlib a compiled crypto library that nothing here needs).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit

from glisk.clients.http import Fault, HttpClient, HttpOptions, Reply
from glisk.errors import InvalidRequestError, TransientError

VENDOR: Final = "x"
# users/me needs both, although only the user is read.
_SCOPES: Final = ("tweet.read", "users.read")
_VERIFIER_LENGTH: Final = 64


@dataclass(frozen=True)
class Authorization:
    """What begins a sign-in; the verifier stays with us until X sends the code."""

    url: str
    code_verifier: str

    def __repr__(self) -> str:
        return "<Authorization>"


class XClient:
    """One application at X. Its access tokens live as long as the call that reads the user."""

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: str,
        redirect_uri: str,
        authorize_url: str,
        api_url: str,
        options: HttpOptions | None = None,
    ) -> None:
        """Without a secret the application is a public client."""
        from oauthlib.oauth2 import WebApplicationClient

        self._oauth = WebApplicationClient
        self._client_id, self._client_secret = client_id, client_secret
        self._redirect_uri, self._authorize_url = redirect_uri, authorize_url
        self._http = HttpClient(
            vendor=VENDOR, base_url=api_url, options=options, read_fault=_read_fault
        )

    @classmethod
    def from_settings(cls) -> Self:
        """Build the client from the X_* settings."""
        from django.conf import settings

        return cls(
            client_id=settings.X_CLIENT_ID,
            client_secret=settings.X_CLIENT_SECRET,
            redirect_uri=settings.X_REDIRECT_URI,
            authorize_url=settings.X_AUTHORIZE_URL,
            api_url=settings.X_API_URL,
            options=HttpOptions.for_linking(),
        )

    def close(self) -> None:
        self._http.close()

    def authorization(self, *, state: str) -> Authorization:
        """Return where to send the user, and a fresh verifier."""
        client = self._oauth(self._client_id)
        verifier = client.create_code_verifier(_VERIFIER_LENGTH)
        challenge = client.create_code_challenge(verifier, "S256")
        # oauthlib refuses plain HTTP, which the emulator speaks: `check --deploy` looks at the
        # setting instead, and the library makes the query for any address.
        made = client.prepare_request_uri(
            "https://x.com/",
            redirect_uri=self._redirect_uri,
            scope=list(_SCOPES),
            state=state,
            code_challenge=challenge,
            code_challenge_method="S256",
        )
        # X writes the blank between scopes as %20, as any URL may; the library as a form does.
        query = urlsplit(made).query.replace("+", "%20")
        return Authorization(f"{self._authorize_url}?{query}", verifier)

    def exchange(self, *, code: str, code_verifier: str) -> str:
        """Exchange a code (30 s of life, one use) for an access token.

        Raises:
            InvalidRequestError: X refuses the code.
            ProviderError: X does not answer, or refuses the application.
        """
        from oauthlib.oauth2 import OAuth2Error

        client = self._oauth(self._client_id)
        body = client.prepare_request_body(
            code=code,
            redirect_uri=self._redirect_uri,
            code_verifier=code_verifier,
            include_client_id=not self._client_secret,
        )
        headers = {}
        if self._client_secret:
            pair = f"{self._client_id}:{self._client_secret}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
        reply = self._http.call(
            "POST", "/2/oauth2/token", idempotent=False, data=dict(parse_qsl(body)), headers=headers
        )
        try:
            if reply.json_object() is None:
                raise ValueError("no JSON object")
            token = client.parse_request_body_response(reply.body.decode("utf-8"))
        except (OAuth2Error, ValueError, TypeError, AttributeError) as error:
            # Not with an excerpt of the reply: it may hold a token.
            raise TransientError(
                f"x: the answer of the token endpoint is none ({type(error).__name__}).",
                vendor=VENDOR,
                code="bad_reply",
            ) from None
        access_token = token.get("access_token")
        if not isinstance(access_token, str) or not access_token.isascii():
            raise TransientError("x: no access token came.", vendor=VENDOR, code="bad_reply")
        return access_token

    def username(self, *, access_token: str) -> str:
        """Return the name of the user whom the token belongs to.

        Raises:
            ProviderError: X does not answer, refuses, or names nobody.
        """
        reply = self._http.call(
            "GET",
            "/2/users/me",
            idempotent=True,
            headers={"Authorization": f"Bearer {access_token}"},
        )
        user = (reply.json_object() or {}).get("data")
        name = user.get("username") if isinstance(user, dict) else None
        if not isinstance(name, str) or not name:
            raise TransientError("x: users/me names no user.", vendor=VENDOR, code="bad_reply")
        return name


def _read_fault(reply: Reply) -> Fault:
    """Read `{"error", "error_description"}` (OAuth) or `{"title", "detail"}` (API)."""
    answer = reply.json_object() or {}
    code = answer.get("error")
    texts = [answer.get(name) for name in ("error_description", "title", "detail")]
    return Fault(
        detail=": ".join(text for text in texts if isinstance(text, str)) or reply.excerpt(),
        code=code if isinstance(code, str) else None,
        kind=InvalidRequestError if code in ("invalid_grant", "invalid_request") else None,
    )
