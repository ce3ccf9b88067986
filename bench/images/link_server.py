"""A server that gives the files of a folder over HTTP, and sends all clients together at most a
given number of bytes a second: it does what a link does, on one machine.
"""

import asyncio
import time
from multiprocessing.connection import Connection
from pathlib import Path

from aiohttp import web

CHUNK = 2**17  # bytes


class Link:
    """The files of a folder, whole or in ranges, through a link of limited rate."""

    def __init__(self, folder: Path, bytes_per_s: float):
        self.folder = folder
        self.bytes_per_s = bytes_per_s
        self.free = 0.0  # when the link has sent all that was asked for; time.monotonic()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        content = (self.folder / request.match_info["name"]).read_bytes()
        asked = request.http_range
        part = content[asked]
        response = web.StreamResponse(headers={"Accept-Ranges": "bytes", "ETag": '"1"'})
        response.content_length = len(part)
        if asked.start is not None:
            response.set_status(206)
            end = asked.start + len(part) - 1
            response.headers["Content-Range"] = f"bytes {asked.start}-{end}/{len(content)}"
        await response.prepare(request)
        for start in range(0, len(part) if request.method == "GET" else 0, CHUNK):
            chunk, now = part[start : start + CHUNK], time.monotonic()
            self.free = max(self.free, now) + len(chunk) / self.bytes_per_s
            await asyncio.sleep(self.free - now)
            await response.write(chunk)
        await response.write_eof()
        return response


def serve(folder: Path, bytes_per_s: float, port: Connection) -> None:
    """Serve until the process is ended; the port is sent once the server listens."""
    asyncio.run(_serve(Link(folder, bytes_per_s), port))


async def _serve(link: Link, port: Connection) -> None:
    application = web.Application()
    application.router.add_get("/{name}", link.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port.send(runner.addresses[0][1])
    await asyncio.Event().wait()
