"""The cable between one machine and all others, which can go silent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Self

# A port of this machine, or the path of a Unix socket.
FarEnd = int | str
_PIECE_BYTES = 64 * 1024


class Cable:
    """Relays to some far ends by name; who uses `ports` is at the near end.

    While it is cut no byte and no hang-up passes, and both ends believe that the other one is
    there. What was on its way arrives when the cable is mended.
    """

    def __init__(self, far_ends: Mapping[str, FarEnd]) -> None:
        self._far_ends = far_ends
        self._ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.ports: dict[str, int] = {}

    def cut(self) -> None:
        self._ready.result().call_soon_threadsafe(self._whole.clear)

    def mend(self) -> None:
        self._ready.result().call_soon_threadsafe(self._whole.set)

    def __enter__(self) -> Self:
        self._thread.start()
        self.mend()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ready.result().call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._whole, self._ended = asyncio.Event(), asyncio.Event()
        async with AsyncExitStack() as servers:
            for name, far_end in self._far_ends.items():
                connect = partial(self._connect, far_end)
                server = await asyncio.start_server(connect, "127.0.0.1", 0)
                self.ports[name] = server.sockets[0].getsockname()[1]
                servers.callback(server.close)
            self._ready.set_result(asyncio.get_running_loop())
            await self._ended.wait()

    async def _connect(
        self, far_end: FarEnd, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(asyncio.CancelledError):  # the end of all
            await self._whole.wait()
            try:
                if isinstance(far_end, str):
                    far_reader, far_writer = await asyncio.open_unix_connection(far_end)
                else:
                    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", far_end)
            except OSError:  # nobody listens there at the moment
                writer.close()
                return
            await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while data := await reader.read(_PIECE_BYTES):
                    await self._whole.wait()
                    writer.write(data)
                    await writer.drain()
            await self._whole.wait()
        finally:
            writer.close()
