"""Posts that an emulator makes by itself: webhooks to the program under test."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import requests


class Poster:
    """Posts bodies from any thread; each thread keeps a connection of its own."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout = timeout_seconds
        self._local = threading.local()

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Return the answer's status; 0 if none came."""
        try:
            response = self._session().post(
                url,
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            )
        except requests.RequestException:
            return 0
        return response.status_code

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = False  # no proxy between an emulator and loopback
        session: requests.Session = self._local.session
        return session
