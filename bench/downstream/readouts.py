"""What an encoder knows before anything is trained on its features: k nearest neighbours, and
zero-shot classification.
"""

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from bench.downstream.outputs import BY_NAME, DataSpelling, filled_in
from bench.downstream.probe.config import TransferOptions
from catlip.cli import run
from catlip.program.broken import MAX_BROKEN, MaxBroken
from catlip.program.ranges import Count, Natural, Seed


@dataclass(frozen=True)
class Readouts:
    """Classify by k nearest neighbours and, where the encoder allows it, zero-shot; nothing is
    trained.

    python -m bench.downstream.readouts --encoder runs/starter/pretrain/catlip-seed0 \\
        --data starter:data/starter

    python -m bench.downstream.readouts --encoder openclip:ViT-B-16/datacomp_xl_s13b_b90k \\
        --data imagenet:/data/imagenet

    Zero-shot classification works for a run of CatLIP, by the rows of its classifier, and for a run
    of CLIP or an OpenCLIP model, by prompts.
    """

    encoder: str
    """The encoder, spelt as for bench.downstream.linear_probe."""
    data: DataSpelling
    out: Path = Path("runs/bench/readout") / BY_NAME
    """The record to write."""
    neighbours: Count = 20
    """Number of nearest training images that vote, each with weight exp(cosine / 0.07)."""
    transfer: tyro.conf.OmitArgPrefixes[TransferOptions] = field(default_factory=TransferOptions)
    seed: Seed = 0
    """Seed of a random encoder."""
    num_workers: Natural = 1
    """Processes that decode images."""
    max_broken: MaxBroken = MAX_BROKEN
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    quiet: bool = False
    """No progress bar."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", filled_in(self.out, self.data, self.encoder))


def main(config: Readouts) -> None:
    from bench.downstream.probe.readouts import read_out

    read_out(config)


if __name__ == "__main__":
    run(Readouts, main)
