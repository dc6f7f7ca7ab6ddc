"""Emulate X as far as a sign-in needs it: consent, token, and who the user is."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

from aiohttp import web

from sandbox.http import Emulator, Faults, json_response

CLIENT_ID = "sandbox-x-client"
CLIENT_SECRET = "sandbox-x-secret"
SCOPES = {"tweet.read", "users.read"}


@dataclass(frozen=True, kw_only=True)
class XFaults(Faults):
    """Set how X misbehaves; `denied`: the user says no; `code_seconds`: how long a code lives."""

    denied: bool = False
    code_seconds: float = 30.0


class Grant(NamedTuple):
    """What a code was given for."""

    challenge: str
    username: str
    made_at: float


class XEmulator(Emulator[XFaults]):
    """One application, one user, who consents at once; `username` is who that is."""

    name = "x"
    faults_class = XFaults

    def __init__(
        self,
        *,
        redirect_uri: str,
        client_secret: str = CLIENT_SECRET,
    ) -> None:
        """Prepare the emulator; an empty secret makes the application a public client."""
        super().__init__()
        self.redirect_uri, self.username = redirect_uri, "glisk_author"
        self._client_secret = client_secret
        self._grants: dict[str, Grant] = {}
        self._tokens: dict[str, str] = {}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/i/oauth2/authorize", self._authorize),
            web.post("/2/oauth2/token", self._token),
            web.get("/2/users/me", self._me),
        ]

    def throttled(self, retry_after_seconds: int) -> web.Response:
        reset = str(int(time.time()) + retry_after_seconds)
        headers = {"x-rate-limit-limit": "75", "x-rate-limit-remaining": "0"}
        return json_response(
            _problem("Too Many Requests", 429), 429, {**headers, "x-rate-limit-reset": reset}
        )

    def server_error(self, status: int) -> web.Response:
        return json_response(_problem("Service Unavailable", status), status)

    def on_reset(self) -> None:
        self._grants.clear()
        self._tokens.clear()

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = request.query
        fits = (
            asked.get("response_type") == "code"
            and asked.get("client_id") == CLIENT_ID
            and asked.get("redirect_uri") == self.redirect_uri
            and set(asked.get("scope", "").split()) >= SCOPES
            and asked.get("code_challenge_method") == "S256"
            and asked.get("code_challenge")
        )
        if not fits:  # X shows a page; the browser does not come back
            return json_response({"error": "Something went wrong"}, 400)
        answer = {"state": asked.get("state", "")}
        if self.faults.denied:
            answer["error"] = "access_denied"
        else:
            code = secrets.token_urlsafe(24)
            self._grants[code] = Grant(asked["code_challenge"], self.username, time.time())
            answer["code"] = code
        location = f"{self.redirect_uri}?{urlencode(answer)}"
        return web.Response(status=302, headers={"Location": location})

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if not self._knows_client(request, form):
            return _oauth_error(401, "unauthorized_client", "Missing valid authorization header")
        grant = self._grants.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        fits = (
            form.get("grant_type") == "authorization_code"
            and grant is not None
            and grant.made_at + self.faults.code_seconds > time.time()
            and self.redirect_uri == form.get("redirect_uri")
            and grant.challenge == challenge.decode().rstrip("=")
        )
        if not fits or grant is None:
            text = "Value passed for the authorization code was invalid."
            return _oauth_error(400, "invalid_request", text)
        token = secrets.token_urlsafe(48)
        self._tokens[token] = grant.username
        return json_response(
            {
                "token_type": "bearer",
                "expires_in": 7200,
                "access_token": token,
                "scope": "users.read tweet.read",  # not in the order asked for
            }
        )

    def _knows_client(self, request: web.Request, form: dict[str, str]) -> bool:
        if not self._client_secret:
            return form.get("client_id") == CLIENT_ID
        pair = base64.b64encode(f"{CLIENT_ID}:{self._client_secret}".encode()).decode()
        return request.headers.get("Authorization") == f"Basic {pair}"

    async def _me(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            return json_response(_problem("Unauthorized", 401), 401)
        name = self._tokens[token]
        return json_response({"data": {"id": "2244994945", "name": name.title(), "username": name}})


def _problem(title: str, status: int) -> dict[str, Any]:
    return {"title": title, "type": "about:blank", "status": status, "detail": title}


def _oauth_error(status: int, error: str, description: str) -> web.Response:
    return json_response({"error": error, "error_description": description}, status)
