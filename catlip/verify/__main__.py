"""`python -m catlip.verify`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from catlip.cli import run
from catlip.program.ranges import Count


@dataclass(frozen=True)
class Verify:
    """Execute steps of a pre-training again, on its data, from its seed and from each checkpoint,
    and compare losses and weights with what it left. Nothing in its folder changes.

    python -m catlip.verify runs/starter/pretrain/catlip-seed0

    python -m catlip.verify runs/starter/pretrain/clip-seed0.json --steps 100000    # all steps

    Steps are executed from each checkpoint, and from the seed, up to the next checkpoint. The
    program compares each line of log.jsonl, checkpoint and file of weights that they reach. It also
    checks each checkpoint's sums, and that the record's samples and metrics are those of the log.

    With the device, versions, threads and ranks of the run (torchrun starts several ranks),
    everything has to agree bit for bit; on a GPU only if the run used --deterministic. Otherwise
    losses and weights (by the norm of their difference) have to agree within a hundredth, and the
    program prints the reason. Exits with 1 if anything differs.
    """

    run: tyro.conf.Positional[Path]
    """The folder of a run, finished or not, or its record beside the folder."""
    steps: Count = 20
    """Optimizer steps to execute from the seed, and from each checkpoint; give the run's number of
    steps to execute all of them.
    """
    shards: tuple[str, ...] = ()
    """Where the shards are now; by default where they were."""
    labels_dir: Path | None = None
    """Where the labels of the shards are now; by default where they were."""
    vocabulary: Path | None = None
    """Where the vocabulary is now; by default where it was."""
    device: str = ""
    """auto, cpu, cuda or cuda:N; by default the --device of the run."""
    quiet: bool = False
    """No progress bar."""


if __name__ == "__main__":
    run(Verify, "catlip.verify.replay:main")
