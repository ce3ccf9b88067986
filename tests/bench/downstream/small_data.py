"""Pictures that any features tell apart, and vocabularies."""

from pathlib import Path
from typing import Any

import numpy as np
from pictures import save
from PIL import Image

from catlip.vocabulary import CountedCaptions, Synset, Vocabulary
from catlip.words.wordnet import nouns

ON_A_CPU: dict[str, Any] = {"num_workers": 0, "device": "cpu", "quiet": True}


def png(level: int, seed: int, size: tuple[int, int] = (40, 50)) -> bytes:
    """A picture of this grey level, with some noise."""
    noise = np.random.default_rng(seed).integers(-20, 21, size=(*size, 3))
    return save(Image.fromarray((level + noise).clip(0, 255).astype(np.uint8)), "PNG")


def write_folders(root: Path, names: tuple[str, ...], count: int = 4) -> str:
    """A folder per class, each of a grey level of its own; the spelling of that data set."""
    for split in ("train", "val"):
        for number, name in enumerate(names):
            folder = root / split / name
            folder.mkdir(parents=True)
            for seed in range(count):
                level = 255 * number // max(1, len(names) - 1)
                (folder / f"{seed}.png").write_bytes(png(level, seed + 100 * (split == "val")))
    return f"folder:{root}"


def write_noise(root: Path, count: int) -> str:
    """Noise in folders of four classes: what is right about it depends on everything."""
    for number in range(count):
        folder = root / ("train", "val")[number % 2] / f"{number // 2 % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(png(128, number))
    return f"folder:{root}"


def vocabulary_of(*names: str) -> Vocabulary:
    """A vocabulary of these synsets, the first the most frequent."""
    synsets = (Synset(nouns().find(name), name, 1000 - n) for n, name in enumerate(names))
    return Vocabulary(
        "corenet", "3.0", None, CountedCaptions(None, ()), None, len(names), tuple(synsets)
    )
