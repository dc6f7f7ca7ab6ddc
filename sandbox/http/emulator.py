"""Serve one emulated vendor: routes, faults, call log, bill, life cycle."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from sandbox.http.bill import Bill
from sandbox.http.calls import Call, CallLog
from sandbox.http.control import CONTROL_PREFIX, answer_control
from sandbox.http.faults import BEFORE_ACCEPTANCE, FaultPlan, Faults, Kind, PlannedFault
from sandbox.http.messages import Request, Response, json_response
from sandbox.http.protocol import Connection

logger = logging.getLogger(__name__)

BACKLOG = 1024
START_TIMEOUT_SECONDS = 10.0

Handler = Callable[..., Response | Awaitable[Response]]


class Emulator:
    """Run one vendor in a thread of its own, or in the foreground by `serve_forever`.

    Subclasses give `name`, `faults_class` and `routes`, a list of (method, path pattern,
    handler); a handler takes the request and the pattern's groups, in order.
    """

    name: ClassVar[str] = "vendor"
    faults_class: ClassVar[type[Faults]] = Faults

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
        self._routes = [
            (method, re.compile(pattern), handler) for method, pattern, handler in self.routes()
        ]
        self._connections: set[Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._start_error: OSError | None = None

    # --- what a vendor fills in ---

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return the vendor's routes."""
        raise NotImplementedError

    def throttled(self, retry_after_seconds: int) -> Response:
        """Build the vendor's 429."""
        return json_response(
            {"detail": "Too many requests"}, 429, {"Retry-After": str(retry_after_seconds)}
        )

    def server_error(self, status: int) -> Response:
        """Build the vendor's 5xx."""
        return json_response({"detail": "Internal server error"}, status)

    def not_found(self, request: Request) -> Response:
        """Build the vendor's answer to an unknown path."""
        return json_response({"detail": "Not found"}, 404)

    async def on_start(self) -> None:
        """Take up work that an earlier process left; runs in the event loop."""

    async def on_stop(self) -> None:
        """Let go of what the vendor holds; runs in the event loop."""

    def on_reset(self) -> None:
        """Forget the vendor's own state (predictions, pins)."""

    def control(self, request: Request, action: str) -> Response | None:
        """Answer a control endpoint of the vendor's own; None when it has no such action."""
        return None

    # --- for tests and demos ---

    @property
    def url(self) -> str:
        """Return the base URL, without a trailing slash."""
        return self._public_url or f"http://{self.host}:{self.port}"

    @property
    def calls(self) -> list[Call]:
        """Return the calls answered so far."""
        return self.call_log.since(0)

    @property
    def faults(self) -> Faults:
        """Return the fault settings in force."""
        return self.plan.faults

    def set_faults(self, **changes: Any) -> None:
        """Change fault settings; raises ValueError for unknown names or senseless values."""
        self.plan.use(self.plan.faults.changed(changes))

    def plan_fault(self, kind: Kind, *, times: int = 1, scope: str = "") -> None:
        """Strike the next calls whose "METHOD /path" matches the regular expression."""
        self.plan.planned.append(PlannedFault(kind, times, scope))

    def reset(self, *, state: bool = False) -> None:
        """Forget calls, bill and faults; with `state`, the vendor's own data too.

        For threads other than the server's, which must not be disturbed in the middle of a call.
        """
        assert self._loop is not None

        async def forget() -> None:
            self.forget(state=state)

        asyncio.run_coroutine_threadsafe(forget(), self._loop).result()

    def forget(self, *, state: bool) -> None:
        """Do what `reset` does, from within the event loop."""
        self.call_log.clear()
        self.bill.clear()
        self.plan.planned.clear()
        self.plan.use(self.faults_class(seed=self.plan.faults.seed))
        if state:
            self.on_reset()

    # --- life cycle ---

    def start(self) -> Self:
        """Serve in a background thread; raises OSError when the port is taken."""
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name=f"{self.name}-emulator", daemon=True
        )
        self._thread.start()
        if not self._ready.wait(START_TIMEOUT_SECONDS):
            raise OSError(f"{self.name} emulator did not start")
        if self._start_error is not None:
            raise self._start_error
        return self

    def stop(self) -> None:
        """Close the port and every connection, end the thread."""
        self.request_stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def request_stop(self) -> None:
        """Ask the server to end; safe from any thread and from signal handlers."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def _serve(self, on_ready: Callable[[], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            server = await self._loop.create_server(
                lambda: Connection(self._answer, self._connections),
                self.host,
                self.port,
                backlog=BACKLOG,
            )
        except OSError as error:
            self._start_error = error
            self._ready.set()
            return
        self.port = server.sockets[0].getsockname()[1]
        await self.on_start()
        self._ready.set()
        if on_ready is not None:
            on_ready()
        try:
            await self._stop.wait()
        finally:
            server.close()
            for connection in tuple(self._connections):
                connection.abort()
            await self.on_stop()
            self.call_log.close()

    def serve_forever(self, on_ready: Callable[[], None] | None = None) -> None:
        """Serve in this thread until `request_stop`; raises OSError when the port is taken."""
        asyncio.run(self._serve(on_ready))
        if self._start_error is not None:
            raise self._start_error

    # --- one call ---

    async def _answer(self, request: Request) -> Response | None:
        if request.path.startswith(CONTROL_PREFIX):
            return answer_control(self, request)
        received_at = time.time()
        call = f"{request.method} {request.path}"
        fault = self.plan.strike(call)
        if self.plan.in_scope(call):
            delay = self.plan.seconds("latency", self.faults.latency_seconds)
            if delay > 0:
                await asyncio.sleep(delay)
        response = await self._respond(request, fault)
        if response is not None:
            now = time.time() + self.faults.clock_ahead_seconds
            response.headers.setdefault("Date", formatdate(now, usegmt=True))
        self._log(request, response, received_at, fault)
        return response

    async def _respond(self, request: Request, fault: Kind | None) -> Response | None:
        if fault == "drop_before":
            return None
        if fault == "throttle":
            return self.throttled(self.faults.retry_after_seconds)
        if fault == "server_error":
            return self.server_error(self.faults.server_error_status)
        response = await self._route(request)
        if fault == "drop_after":
            return None
        if fault == "error_after":
            return self.server_error(self.faults.error_after_status)
        return response

    async def _route(self, request: Request) -> Response:
        path = request.path
        allowed: list[str] = []
        for method, pattern, handler in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if method != request.method:
                allowed.append(method)
                continue
            try:
                response = handler(request, *match.groups())
                return await response if inspect.isawaitable(response) else response
            except Exception:
                logger.exception("%s emulator failed at %s %s", self.name, request.method, path)
                return self.server_error(500)
        if allowed:
            return json_response(
                {"detail": f'Method "{request.method}" not allowed.'},
                405,
                {"Allow": ", ".join(allowed)},
            )
        return self.not_found(request)

    def _log(
        self, request: Request, response: Response | None, received_at: float, fault: Kind | None
    ) -> None:
        self.call_log.add(
            Call(
                number=self.call_log.next_number(),
                received_at=received_at,
                answered_at=time.time(),
                method=request.method,
                path=request.path,
                status=response.status if response else 0,
                request_size=len(request.body),
                size=len(response.body) if response else 0,
                fault=fault or "",
                accepted=fault not in BEFORE_ACCEPTANCE,
                subject=request.subject,
            )
        )
