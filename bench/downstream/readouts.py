"""What an encoder knows untrained: k nearest neighbours, and zero-shot classification."""

from dataclasses import dataclass
from pathlib import Path

from bench.downstream.outputs import BY_NAME
from bench.downstream.probe.config import OnTasks
from catlip.cli import run
from catlip.program.ranges import Count


@dataclass(frozen=True)
class Readouts(OnTasks):
    """Classify by k nearest neighbours and, where the encoder allows it, zero-shot; nothing is
    trained.

    python -m bench.downstream.readouts --encoder runs/starter/pretrain/catlip-seed0 \\
        --data starter:data/starter

    python -m bench.downstream.readouts --encoder openclip:ViT-B-16/datacomp_xl_s13b_b90k \\
        --data imagenet:/data/imagenet

    Zero-shot classification works for a run of CatLIP, by the rows of its classifier, and for a run
    of CLIP or an OpenCLIP model, by prompts.
    """

    out: Path = Path("runs/bench/readout") / BY_NAME
    neighbours: Count = 20
    """Number of nearest training images that vote, each with weight exp(cosine / 0.07)."""


def main(config: Readouts) -> None:
    from bench.downstream.probe.readouts import read_out

    read_out(config)


if __name__ == "__main__":
    run(Readouts, main)
