"""Serve one emulated vendor: routes, faults, call log, bill, life cycle."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import asdict
from email.utils import formatdate
from pathlib import Path
from typing import Any, ClassVar, Generic, Self

import aiohttp
from aiohttp import web

from sandbox.http.faults import F, FaultPlan, Kind, PlannedFault
from sandbox.http.records import Bill, Call, CallLog

logger = logging.getLogger(__name__)

# Endpoints below this are for whoever steers the emulator: no vendor has them, no fault strikes.
CONTROL_PREFIX = "/_sandbox/"
BACKLOG = 1024
START_TIMEOUT_SECONDS = 10.0
MAX_BODY_BYTES = 128 * 1024 * 1024
WEBHOOKS_AT_ONCE = 8

# What a call was about (prediction id, CID), for the call log; handlers set it.
SUBJECT = web.RequestKey("subject", str)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_response(
    payload: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Build a reply with a compact JSON body."""
    body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    content_type = {"Content-Type": "application/json; charset=utf-8"}
    return web.Response(body=body, status=status, headers={**content_type, **(headers or {})})


def hang_up(request: web.Request) -> web.Response:
    """Close the connection without a reply; what this returns is never seen."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


class Emulator(Generic[F]):
    """Run one vendor in a thread of its own, or in the foreground by `serve_forever`.

    Subclasses give `name`, `faults_class` and `routes`.
    """

    name: ClassVar[str] = "vendor"
    faults_class: type[F]

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        public_url: str = "",
        log_file: Path | str | None = None,
        seed: int = 0,
    ) -> None:
        """Prepare the emulator; port 0 takes a free one.

        `public_url` is the address that clients use, where it differs from host and port.
        """
        self.host = host
        self.port = port
        self._public_url = public_url.rstrip("/")
        self.call_log = CallLog(Path(log_file) if log_file else None)
        self.bill = Bill()
        self.plan = FaultPlan(self.faults_class(seed=seed))
        self._scripted: dict[str, tuple[int, bytes]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        raise NotImplementedError

    def throttled(self, retry_after_seconds: int) -> web.Response:
        return json_response(
            {"detail": "Too many requests"}, 429, {"Retry-After": str(retry_after_seconds)}
        )

    def server_error(self, status: int) -> web.Response:
        return json_response({"detail": "Internal server error"}, status)

    def not_found(self) -> web.Response:
        return json_response({"detail": "Not found"}, 404)

    async def on_start(self) -> None:
        """Take up work that an earlier process left."""

    async def on_stop(self) -> None:
        """Let go of what the vendor holds."""

    def on_reset(self) -> None:
        """Forget the vendor's own state (predictions, pins)."""

    # --- for tests and demos ---

    @property
    def url(self) -> str:
        """Return the base URL, without a trailing slash."""
        return self._public_url or f"http://{self.host}:{self.port}"

    @property
    def calls(self) -> list[Call]:
        return self.call_log.all()

    @property
    def faults(self) -> F:
        return self.plan.faults

    def set_faults(self, **changes: Any) -> None:
        self.plan.change(**changes)

    def plan_fault(self, kind: Kind, *, times: int = 1, scope: str = "") -> None:
        """Strike the next calls whose "METHOD /path" matches the regular expression."""
        self.plan.planned.append(PlannedFault(kind, times, scope))

    def script(self, scope: str, body: Any, status: int = 200) -> None:
        """Answer all calls of a scope with this body: bytes, or what becomes JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._scripted[scope] = status, content

    def reset(self, *, state: bool = False) -> None:
        """Forget calls, bill and faults; with `state`, the vendor's own data too.

        For threads other than the server's, which must not be disturbed in the middle of a call.
        """
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._forget(state=state), self._loop).result()

    async def _forget(self, *, state: bool) -> None:
        self.call_log.clear()
        self.bill.clear()
        self._scripted.clear()
        self.plan.reset()
        if state:
            self._cancel_tasks()
            self.on_reset()

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()

    # --- life cycle ---

    def start(self) -> Self:
        """Serve in a background thread; raises OSError when the port is taken."""
        ready: Future[None] = Future()

        def serve() -> None:
            try:
                self.serve_forever(lambda: ready.set_result(None))
            except OSError as error:
                ready.set_exception(error)

        self._thread = threading.Thread(target=serve, name=f"{self.name}-emulator", daemon=True)
        self._thread.start()
        ready.result(START_TIMEOUT_SECONDS)
        return self

    def stop(self) -> None:
        """Close the port and every connection, end the thread."""
        self.request_stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def request_stop(self) -> None:
        """Ask the server to end; safe from any thread and from signal handlers."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def serve_forever(self, on_ready: Callable[[], None]) -> None:
        """Serve in this thread until `request_stop`; raises OSError when the port is taken."""
        asyncio.run(self._serve(on_ready))

    async def _serve(self, on_ready: Callable[[], None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(middlewares=[self._answer], client_max_size=MAX_BODY_BYTES)
        app.add_routes([*self.routes(), *self._control_routes()])
        app.on_response_prepare.append(self._set_date)
        # Calls under way are not waited for: a stopped vendor hangs up.
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=3600, shutdown_timeout=0.01)
        await runner.setup()
        connector = aiohttp.TCPConnector(limit=WEBHOOKS_AT_ONCE)
        async with aiohttp.ClientSession(connector=connector) as self._client:
            try:
                await web.TCPSite(runner, self.host, self.port, backlog=BACKLOG).start()
                self.port = runner.addresses[0][1]
                await self.on_start()
                on_ready()
                await self._stop.wait()
            finally:
                await runner.cleanup()
                self._cancel_tasks()
                await self.on_stop()
                self.call_log.close()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work beside the calls, until the emulator stops; from the server's thread."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float
    ) -> int:
        """Post a webhook to the program; return the answer's status, 0 if none came."""
        try:
            async with self._client.post(
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(timeout_seconds),
            ) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    # --- one call ---

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(CONTROL_PREFIX):
            try:
                return await handler(request)
            except (ValueError, TypeError, KeyError) as error:
                return json_response({"detail": str(error)}, 400)
        received_at = time.time()
        call = f"{request.method} {request.path}"
        fault = self.plan.strike(call)
        delay = self.plan.seconds("latency", self.faults.latency_seconds)
        if delay > 0 and self.plan.in_scope(call):
            await asyncio.sleep(delay)
        try:
            response = await self._respond(request, handler, fault)
        except ConnectionResetError:
            return hang_up(request)  # its body never came whole: that is no call
        self.call_log.add(
            received_at=received_at,
            answered_at=time.time(),
            method=request.method,
            path=request.path,
            status=response.status if response else 0,
            size=(response.content_length or 0) if response else 0,
            fault=fault or "",
            subject=request.get(SUBJECT, ""),
        )
        return hang_up(request) if response is None else response

    async def _respond(
        self, request: web.Request, handler: Handler, fault: Kind | None
    ) -> web.StreamResponse | None:
        if fault in ("drop_before", "throttle", "server_error"):
            await request.read()  # a client that still sends would take it for another fault
            if fault == "throttle":
                return self.throttled(self.faults.retry_after_seconds)
            status = self.faults.server_error_status
            return None if fault == "drop_before" else self.server_error(status)
        response = await self._route(request, handler)
        if fault == "drop_after":
            return None
        if fault == "error_after":
            return self.server_error(self.faults.error_after_status)
        return response

    async def _route(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        for scope, (status, body) in self._scripted.items():
            if re.search(scope, f"{request.method} {request.path}"):
                return web.Response(status=status, body=body)
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return self.not_found()
        except ConnectionResetError:
            raise
        except Exception:
            logger.exception("%s emulator failed at %s %s", self.name, request.method, request.path)
            return self.server_error(500)

    async def _set_date(self, request: web.Request, response: web.StreamResponse) -> None:
        now = time.time() + self.faults.clock_ahead_seconds
        response.headers["Date"] = formatdate(now, usegmt=True)

    # --- control ---

    def _control_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sandbox/health", self._health),
            web.get("/_sandbox/calls", self._show_calls),
            web.get("/_sandbox/bill", self._show_bill),
            web.get("/_sandbox/faults", self._show_faults),
            web.post("/_sandbox/faults", self._change_faults),
        ]

    async def _health(self, request: web.Request) -> web.Response:
        return json_response({"status": "healthy", "name": self.name, "url": self.url})

    async def _show_calls(self, request: web.Request) -> web.Response:
        return json_response({"calls": [asdict(call) for call in self.calls]})

    async def _show_bill(self, request: web.Request) -> web.Response:
        return json_response(self.bill.as_json())

    async def _show_faults(self, request: web.Request) -> web.Response:
        planned = [asdict(planned) for planned in self.plan.planned]
        return json_response({**asdict(self.faults), "planned": planned})

    async def _change_faults(self, request: web.Request) -> web.Response:
        changes = await request.json()
        for planned in changes.pop("planned", ()):
            self.plan_fault(**planned)
        self.set_faults(**changes)
        return await self._show_faults(request)
