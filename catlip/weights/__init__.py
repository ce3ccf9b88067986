"""Reads and converts weights: of a run, of the release, for timm and for the Hugging Face hub.

    read_checkpoint(Path("vit_base.pt")).build()       # the released encoder with its weights
    read_run(Path("runs/cc3m/pretrain/catlip-seed0"))  # averaged; raw=True for the last checkpoint

A file becomes a `Checkpoint`, which holds encoder, classifier, RangeAugment and the rest under one
set of names, and a checkpoint becomes a file of any target that can hold it
(`catlip.weights.targets`). Every weight is accounted for: it is mapped, or dropped by name with a
reason, or the file is refused.

`python -m catlip.weights convert` and `show` are the command line.
"""

from catlip.weights.checkpoint import Checkpoint, read_checkpoint
from catlip.weights.run import read_run

__all__ = ["Checkpoint", "read_checkpoint", "read_run"]
