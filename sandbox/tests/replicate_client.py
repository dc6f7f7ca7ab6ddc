"""Call the Replicate emulator as its account."""

from __future__ import annotations

from typing import Any

import requests

from sandbox.replicate import SANDBOX_TOKEN, ReplicateEmulator

FLUX = "/v1/models/black-forest-labs/flux-schnell/predictions"


class Client(requests.Session):
    """Call an emulator as its account."""

    def __init__(self, emulator: ReplicateEmulator) -> None:
        super().__init__()
        self.base = emulator.url
        self.headers["Authorization"] = f"Bearer {SANDBOX_TOKEN}"

    def create(self, prompt: str = "a fox", path: str = FLUX, **body: Any) -> requests.Response:
        headers = body.pop("headers", {})
        settings = {"prompt": prompt, **body.pop("settings", {})}
        return self.post(
            self.base + path, json={"input": settings, **body}, headers=headers, timeout=70
        )

    def read(self, path: str) -> Any:
        return self.get(self.base + path, timeout=60).json()
