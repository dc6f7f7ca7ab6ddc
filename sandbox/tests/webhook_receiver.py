"""A receiver of webhooks for tests: it keeps what came and answers as it is told."""

import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from sandbox.http import Emulator, Faults


@dataclass(frozen=True)
class Received:
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def message(self) -> Any:
        return json.loads(self.body)


class Receiver(Emulator[Faults]):
    """Answers `statuses` first, in order; then 200."""

    name = "receiver"
    faults_class = Faults

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Received] = []
        self.statuses: list[int] = []

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/webhook", self._receive)]

    @property
    def target(self) -> str:
        return f"{self.url}/webhook"

    async def _receive(self, request: web.Request) -> web.Response:
        headers = {name.lower(): text for name, text in request.headers.items()}
        self.received.append(Received(headers, await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)
