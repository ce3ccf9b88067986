"""Answers of an http(s) server that end, whatever the server does.

A driver reads an answer to its end, as it comes. So a server could fill the memory with a body
without end, or with one that is unpacked to a thousand times its size, or send a byte a minute for
ever. These answers have a bounded size and a bounded time, are not unpacked, and have the range
that was asked for.
"""

import asyncio
import re
import time
from typing import Any

import aiohttp

MAX_BYTES = 2**30  # of one answer: a whole shard, of a server that knows no ranges
STALLED_S = 60  # without a byte, or until all headers are there
MIN_BYTES_PER_S = 20_000  # of a body


def client_options() -> dict[str, Any]:
    """How aiohttp's session is made."""
    return {
        "response_class": Answer,
        "auto_decompress": False,
        "headers": {"Accept-Encoding": "identity"},
        "timeout": aiohttp.ClientTimeout(total=None, sock_read=STALLED_S),
    }


class Answer(aiohttp.ClientResponse):
    """Raises: ValueError when it is not what was asked for, TimeoutError when it is too slow."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(STALLED_S):
                await super().start(connection)
        except TimeoutError:
            raise TimeoutError(f"its server sends no whole header in {STALLED_S} s") from None
        if self.status not in (200, 206):
            return self
        encoding = self.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise ValueError(f"its server packs it ({encoding[:20]!a}), which was not asked for")
        if self.status == 206:
            asked = self.request_info.headers.get("Range", "")
            got = self.headers.get("Content-Range", asked)
            if not asked or _numbers(got)[:2] != _numbers(asked):
                raise ValueError(f"its server sends {got[:60]!a} in place of {asked!a}")
        return self

    async def read(self) -> bytes:
        limit = MAX_BYTES
        if self.status == 206:
            first, last = _numbers(self.request_info.headers["Range"])
            limit = last + 1 - first
        content, start = bytearray(), time.monotonic()
        async for part in self.content.iter_any():
            content += part
            if len(content) > limit:
                raise ValueError(f"its server sends more than {limit:,} bytes")
            if time.monotonic() - start > STALLED_S + len(content) / MIN_BYTES_PER_S:
                raise TimeoutError(f"its server sends under {MIN_BYTES_PER_S:,} bytes a second")
        self._body = bytes(content)  # where `text` finds it
        return self._body


def _numbers(range_: str) -> list[int]:
    """First byte, last byte and, of an answer, size."""
    return [int(number) for number in re.findall(r"\d+", range_)]
