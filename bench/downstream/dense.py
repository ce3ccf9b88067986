"""What segmentation and detection have in common: how they are started, and what their records say
of the encoder.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from bench.downstream.encoders import LoadedEncoder, open_encoder
from bench.downstream.outputs import filled_in
from catlip.broken import MAX_BROKEN, BrokenImages, check_max_broken
from catlip.ranges import Count, Fraction, Natural, Seed
from catlip.record import Record


@dataclass(frozen=True)
class Dense:
    """What both programs are started with."""

    encoder: str
    """A run's folder, FOLDER:raw, FILE.safetensors, released:vit_b16[@512][:FILE], timm:NAME[:FILE]
    of a plain ViT, or random:NAME@RESOLUTION; see bench.downstream.encoders."""
    data: str
    """Where the data set lies, in its own layout."""
    out: Path
    """The record to write; the run goes into a folder of the same name."""
    seed: Seed = 0
    """Of the order, the crops, the head, and a random encoder."""
    overfit: Natural = 0
    """Train on the first so many training images and test on the same: can the harness learn at
    all? 0 for the real task.
    """
    draw: Natural = 6
    """Test images whose predictions the record keeps, to be drawn in the report."""
    num_workers: Natural = 1
    """Processes that read images, per rank."""
    max_broken: Fraction = MAX_BROKEN
    """Share of the images that may be broken and left out; ten are never too many, unless this is
    0.
    """
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    checkpoint_every: Count = 500
    """Optimizer steps between checkpoints."""
    quiet: bool = False
    """No progress bars."""
    dry_run: bool = False
    """Print the resolved recipe, and what differs from the release, and stop; needs no encoder and
    no data.
    """

    def __post_init__(self) -> None:
        check_max_broken(self.max_broken)
        object.__setattr__(self, "out", filled_in(self.out, self.data, self.encoder))

    @property
    def folder(self) -> Path:
        """Of the run: its checkpoints and logs."""
        return self.out.with_suffix("")


@dataclass(frozen=True)
class Origin:
    """What is transferred: an encoder on the CPU, and the digest of its weights as they were
    loaded.

    A feature map drops the encoder's class token, so the digest is taken before.
    """

    encoder: LoadedEncoder
    digest: str


def open_origin(spelling: str, seed: int) -> Origin:
    """The encoder that `spelling` names. Raises: InputError, as `open_encoder` does."""
    encoder = open_encoder(spelling, seed)
    return Origin(encoder, encoder.digest())


def leave_out(record: Record, broken: BrokenImages, say: bool) -> None:
    """Count and list in a record the images that are left out, and say so, if there are any."""
    broken.note(record)
    if say and broken:
        print(f"left out: {broken.summary()}", flush=True)


def note_encoder(record: Record, encoder: LoadedEncoder, digest: str, model: nn.Module) -> None:
    """Say in a record what was transferred, and how large the whole model is."""
    record.metrics |= {
        "method": encoder.method,
        "pretrain_seed": encoder.pretrain_seed,
        "encoder_digest": digest,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
