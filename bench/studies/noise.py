"""Noise as in web data: a fraction of the captions is made worse, or of the samples is lost, drawn
from a seed.

lost=0.2        a fifth of the samples is gone, as links rot
shuffled=0.2    a fifth of the images has the captions of another image
dropped=0.3     each word is left out with that probability
templated=1     captions stand in the sentence of an image agency
chatty=1        captions stand among the words of a post

Several captions of an image are lines of one text: all of them get the noise, each for itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.studies.robustness_result import NONE
from catlip import streams
from catlip.cli import InputError, choose
from catlip.data.shards import open_shard, write_shard
from catlip.data.tar_index import nonblank_lines
from catlip.program.progress import progress

TEMPLATES = ("Stock photo of {} on white background", "{} - royalty free vector illustration image")
CHATS = (
    "So happy with this one! {} Follow for more, link in bio",
    "Good morning everybody, what do you think? {} Tag a friend",
)
# First bytes of an image -> suffix; else JPEG.
SUFFIXES = {b"\x89P": "png", b"RI": "webp", b"GI": "gif"}

Captions = list[str | None]


@dataclass(frozen=True)
class Noise:
    """One kind of noise, and the fraction of the captions, words or samples that it changes."""

    kind: str
    fraction: float

    @classmethod
    def read(cls, spelling: str) -> "Noise":
        """Read `KIND=FRACTION`, or `none`. Raises: InputError."""
        kind, _, fraction = spelling.partition("=")
        if spelling == NONE:
            return cls(NONE, 0.0)
        choose("noise", kind, KINDS)
        try:
            noise = cls(kind, float(fraction))
        except ValueError:
            noise = cls(kind, -1.0)
        if not 0 < noise.fraction <= 1 or (kind == "lost" and noise.fraction == 1):
            most = "below 1" if kind == "lost" else "up to 1"
            raise InputError(
                f"--noises {spelling}: give a fraction above 0 and {most}, as {kind}=0.2"
            )
        return noise

    def __str__(self) -> str:
        return NONE if self.kind == NONE else f"{self.kind}={self.fraction:g}"

    def of(self, captions: Sequence[str], draw: np.random.Generator) -> Captions:
        """The captions with this noise; None where the sample is lost."""
        return KINDS[self.kind](captions, self.fraction, draw)


def _lost(captions: Sequence[str], fraction: float, draw: np.random.Generator) -> Captions:
    kept = draw.random(len(captions)) >= fraction
    return [caption if keep else None for caption, keep in zip(captions, kept, strict=True)]


def _shuffled(captions: Sequence[str], fraction: float, draw: np.random.Generator) -> Captions:
    moved = draw.permutation(np.flatnonzero(draw.random(len(captions)) < fraction))
    changed: Captions = list(captions)
    for number, other in zip(moved.tolist(), np.roll(moved, 1).tolist(), strict=True):
        changed[number] = captions[other]
    return changed


def _dropped(captions: Sequence[str], fraction: float, draw: np.random.Generator) -> Captions:
    changed: Captions = []
    for caption in captions:
        lines = []
        for line in nonblank_lines(caption):
            words = line.split()
            kept = draw.random(len(words)) >= fraction
            lines.append(" ".join(word for word, keep in zip(words, kept, strict=True) if keep))
        changed.append("\n".join(lines))
    return changed


def _in_sentences(sentences: Sequence[str]) -> Callable[..., Captions]:
    def put(captions: Sequence[str], fraction: float, draw: np.random.Generator) -> Captions:
        chosen = np.flatnonzero(draw.random(len(captions)) < fraction)
        which = draw.integers(len(sentences), size=len(captions)).tolist()
        changed: Captions = list(captions)
        for number in chosen.tolist():
            caption = captions[number].replace("{", "(").replace("}", ")")
            sentence = sentences[which[number]]
            lines = nonblank_lines(caption) or [""]
            changed[number] = "\n".join(sentence.format(line) for line in lines)
        return changed

    return put


KINDS: dict[str, Callable[[Sequence[str], float, np.random.Generator], Captions]] = {
    "lost": _lost,
    "shuffled": _shuffled,
    "dropped": _dropped,
    "templated": _in_sentences(TEMPLATES),
    "chatty": _in_sentences(CHATS),
}


def write_noisy(
    shards: Sequence[Path], folder: Path, noise: Noise, *, seed: int, quiet: bool = False
) -> int:
    """Write the shards with noise, one file each; images stay as they are.

    Returns: how many samples are left.
    """
    left = 0
    for number, path in enumerate(progress(shards, str(noise), disable=quiet, unit=" shards")):
        shard = open_shard(path)
        captions = [_text(shard.captions(sample)) for sample in range(len(shard))]
        changed = noise.of(captions, streams.generator(seed, streams.NOISE, number))
        left += write_shard(
            folder / f"{number:05}.tar",
            (
                (key, _members(shard.image_bytes(sample), caption))
                for sample, (key, caption) in enumerate(zip(shard.keys, changed, strict=True))
                if caption is not None
            ),
        )
    return left


def _text(captions: Sequence[str | None]) -> str:
    """The captions of an image as a `.txt`: a line each."""
    return "\n".join(" ".join(nonblank_lines(caption or "")) for caption in captions)


def _members(image: bytes, caption: str) -> dict[str, bytes]:
    return {SUFFIXES.get(image[:2], "jpg"): image, "txt": caption.encode()}
