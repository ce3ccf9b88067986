"""JPEG photographs of the sizes that are usual on the web, cut from larger ones; the same bytes
every time.
"""

import io
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from catlip.data.decode import FORMATS

# Width and height in pixels, as measured on 300 photographs of the web.
MEAN_SIZE, SPREAD = (466, 390), (100, 90)
MIN_SIDE = 128
QUALITIES = (85, 95)  # JPEG's, at both ends of what is common
SUBSAMPLED_SHARE = 0.75  # with chroma of half the resolution, as most cameras and web sites save it


def shipped_photographs() -> list[Path]:
    """The photographs that this project ships as backgrounds; 512 pixels wide."""
    return sorted(Path(str(files("catlip.data.starter") / "backgrounds")).glob("*.jpg"))


def cut(sources: list[Path], count: int, seed: int) -> list[bytes]:
    """`count` JPEGs of web size, cut from each photograph in turn, never enlarged."""
    random = np.random.default_rng(seed)
    return [_cut(sources[number % len(sources)], random) for number in range(count)]


def _cut(source: Path, random: np.random.Generator) -> bytes:
    with Image.open(source, formats=FORMATS) as opened:
        picture = opened.convert("RGB")
    sides = np.maximum(MIN_SIDE, random.normal(MEAN_SIZE, SPREAD))
    # Source pixels per pixel of the largest possible cut.
    largest = (np.array(picture.size) / sides).min()
    sides = sides * min(1, largest)
    zoom = max(1, largest * random.uniform(0.5, 1))
    left, top = random.uniform(size=2) * np.maximum(0, picture.size - sides * zoom)
    box = (left, top, *np.minimum(picture.size, (left, top) + sides * zoom))
    small = picture.resize((round(sides[0]), round(sides[1])), Image.Resampling.LANCZOS, box=box)
    buffer = io.BytesIO()
    chroma = "4:2:0" if random.random() < SUBSAMPLED_SHARE else "4:4:4"
    small.save(
        buffer, "JPEG", quality=int(random.integers(*QUALITIES, endpoint=True)), subsampling=chroma
    )
    return buffer.getvalue()
