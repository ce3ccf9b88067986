"""Photographs that this project ships, and pictures written for tests."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from catlip.data.starter.scenes import BACKGROUNDS

PHOTOGRAPHS = sorted(BACKGROUNDS.glob("*.jpg"))


def photograph(number: int = 0) -> Image.Image:
    return Image.open(PHOTOGRAPHS[number]).convert("RGB")


def save(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(colour: object = "red", size: tuple[int, int] = (20, 20), kind: str = "PNG") -> bytes:
    return save(Image.new("RGB", size, colour), kind)


def crops_of_photographs(count: int) -> list[bytes]:
    """JPEGs of various sizes, qualities and chroma."""
    draw = np.random.default_rng(1)
    crops = []
    for number in range(count):
        whole = photograph(number % len(PHOTOGRAPHS))
        width, height = draw.integers(130, np.array(whole.size) + 1)
        quality, chroma = int(draw.integers(85, 96)), ("4:2:0", "4:4:4")[number % 4 == 0]
        crops.append(save(whole.crop((0, 0, width, height)), quality=quality, subsampling=chroma))
    return crops


def write_pictures(path: Path, count: int, broken: range = range(0)) -> Path:
    """A shard of grey pictures whose shade is their key, some of them broken."""
    from catlip.data.shards import write_shard

    shades = [b"broken" if i in broken else plain((i, i, i)) for i in range(count)]
    write_shard(path, [(str(i), {"png": png, "txt": b"a dog"}) for i, png in enumerate(shades)])
    return path


def png(size: tuple[int, int], bits: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG without a library that might scale or refuse it; before each row is its filter."""
    header = struct.pack(">IIBBBBB", *size, bits, colour_type, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks.items():
        check = struct.pack(">I", zlib.crc32(name + body))
        content += struct.pack(">I", len(body)) + name + body + check
    return content


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a sample, [h, w] of grey or [h, w, 3] RGB."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png((width, height), bits=16, colour_type=0 if values.ndim == 2 else 2, rows=rows)
