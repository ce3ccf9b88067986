"""JPEG photographs of the sizes that are usual on the web, cut from larger ones; the same files
every time.
"""

import io
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from catlip.cli import InputError, run
from catlip.data.decode import FORMATS
from catlip.program.ranges import Count, Seed

# Width and height in pixels, as measured on 300 photographs of the web.
MEAN_SIZE, SPREAD = (466, 390), (100, 90)
LEAST_SIDE = 128
QUALITIES = (85, 95)  # JPEG's, at both ends of what is common
SUBSAMPLED_SHARE = 0.75  # with chroma of half the resolution, as most cameras and web sites save it


@dataclass(frozen=True)
class Photographs:
    """Cut photographs to the sizes that are usual on the web, and save them as JPEG.

    python -m bench.photographs /usr/share/backgrounds/mate/nature --out runs/photographs \\
        --count 300
    """

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of .jpg photographs, the larger the better."""
    out: Path
    """Folder for the files, 00000.jpg onwards."""
    count: Count = 300
    """How many photographs to cut."""
    seed: Seed = 0
    """Seed of their sizes, places and qualities."""


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
    sides = np.maximum(LEAST_SIDE, random.normal(MEAN_SIZE, SPREAD))
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


def main(config: Photographs) -> None:
    """Cut and save."""
    sources = sorted(path for folder in config.sources for path in folder.rglob("*.jpg"))
    if not sources:
        raise InputError(f"no .jpg files in {', '.join(map(str, config.sources))}")
    config.out.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(cut(sources, config.count, config.seed)):
        (config.out / f"{number:05d}.jpg").write_bytes(content)
    print(f"wrote {config.count} photographs to {config.out}")


if __name__ == "__main__":
    run(Photographs, main)
