"""Which captioned images are searched, and by which encoder."""

from dataclasses import dataclass
from pathlib import Path

from bench.downstream.outputs import RECORD_NAME, fill_names
from catlip.program.options import ReadingOptions
from catlip.program.ranges import Count, Seed


@dataclass(frozen=True)
class Retrieval(ReadingOptions):
    """Find the captions of each image among all captions, and the image of each caption among all
    images: R@1, R@5 and R@10 both ways, counted as CLIP_benchmark counts them.

    python -m bench.downstream.retrieval --encoder runs/starter/pretrain/clip-seed0 \\
        --data data/starter/probe-test

    python -m bench.downstream.retrieval --encoder openclip:ViT-B-16/datacomp_xl_s13b_b90k \\
        --data /data/flickr30k/test.csv --max-images 5000

    A run with a text tower, or an OpenCLIP model, compares by the cosine of its embeddings. CatLIP,
    which has none, compares by its classes' scores of a caption's nouns, and SuperClass by those of
    its subwords. The images must not be among those that the encoder was trained on: nothing checks
    that.
    """

    encoder: str
    """As for a linear probe: a run's folder, openclip:NAME/TAG, released:vit_b16[:FILE] ..."""
    data: str
    """Held-out images with captions, one or several each: shards (a folder, glob, braces or URL of
    tars of KEY.jpg and KEY.txt), a table of images and captions, or a folder of images with
    texts."""
    out: Path = Path("runs/bench/retrieval") / RECORD_NAME
    """The record to write."""
    vocabulary: Path | None = None
    """Vocabulary of the encoder's classifier; by default that of its run's record."""
    max_images: Count = 1000
    """Of more images, so many are drawn by the seed; chance is higher among fewer images."""
    seed: Seed = 0
    """Which images are drawn, and how equal scores are put in order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", fill_names(self.out, self.data, self.encoder))
