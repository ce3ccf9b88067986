"""A PNG without a library that might scale or refuse it."""

import struct
import zlib


def png(size: tuple[int, int], bits: int, colour_type: int, rows: bytes) -> bytes:
    """Of a size in pixels, width first, and rows, each after the number of its filter."""
    header = struct.pack(">IIBBBBB", *size, bits, colour_type, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks.items():
        check = struct.pack(">I", zlib.crc32(name + body))
        content += struct.pack(">I", len(body)) + name + body + check
    return content
