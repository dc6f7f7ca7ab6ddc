"""Emulate X as far as a sign-in needs it: consent, token, and who the user is."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlencode

from aiohttp import web

from sandbox.http import Emulator, Faults, json_response

CLIENT_ID = "sandbox-x-client"
CLIENT_SECRET = "sandbox-x-secret"
SCOPES = "tweet.read users.read"


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

    def on_reset(self) -> None:
        self._grants.clear()
        self._tokens.clear()

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = request.query
        wanted = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": self.redirect_uri,
            "scope": SCOPES,
            "code_challenge_method": "S256",
        }
        if not wanted.items() <= dict(asked).items():  # X shows a page; nobody comes back
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
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            grant is None
            or grant.challenge != base64.urlsafe_b64encode(digest).decode().rstrip("=")
            or grant.made_at + self.faults.code_seconds <= time.time()
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != self.redirect_uri
        ):
            return _oauth_error(400, "invalid_request", "The authorization code was invalid.")
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
            return json_response({"title": "Unauthorized", "detail": "Unauthorized"}, 401)
        name = self._tokens[token]
        return json_response({"data": {"id": "2244994945", "name": name.title(), "username": name}})


def _oauth_error(status: int, error: str, description: str) -> web.Response:
    return json_response({"error": error, "error_description": description}, status)
