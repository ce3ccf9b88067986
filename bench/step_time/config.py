from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.measuring.factors import Factors, MethodNames, Parallel, StepConfig
from catlip.costs import TEXT_VOCABULARY
from catlip.program.ranges import Natural, NotNegative
from catlip.records.record import OMIT_DEFAULT


@dataclass(frozen=True)
class StepTime(StepConfig):
    """Time one training step of each method, interleaved, and compare.

    python -m bench.step_time --model vit_l16 --batch-size 128 --compile --device cuda
    python -m bench.step_time --model vit_b16 --methods catlip clip siglip superclass
    python -m bench.step_time --model my_encoder.py:build --resolution 256 --batch-size 64
    python -m bench.step_time --model random:timm/convnext_tiny
    python -m bench.step_time --model vit_b16 --packed-captions --captions '/data/mine/*.tar'
    python -m bench.step_time --model vit_tiny16 --resolution 96 --data data/starter/pretrain
    torchrun --nproc-per-node 8 -m bench.step_time --model vit_b16

    --model also takes what --encoder of a linear probe does, but a run's folder: its operations are
    counted while it runs, and the text tower is that of the ViT nearest to it in size.
    """

    takes_user_encoders = True

    methods: MethodNames = ("catlip", "clip")
    """Methods to time; the first is the denominator of every ratio."""
    batch_size: Natural = 0
    """Images per step and device; 0 for 4 on a CPU, and for 256 or what fits on a GPU."""
    packed_captions: bool = False
    """Also time text towers with blocks without the padding of captions, in rows of their own."""
    text_context: Natural = 0
    """Tokens of a caption that text towers read; 0 for what goes with the encoder."""
    caption_tokens: NotNegative = 0.0
    """Tokens of a synthetic caption, its start and end among them, in the mean; 0 for the mean
    of --captions, or what goes with the encoder: 8.3 of 24, as in the starter data, or 14 of 77, as
    in sentences on photos.
    """
    tokens_in_use: Natural = field(default=TEXT_VOCABULARY, metadata=OMIT_DEFAULT)
    """Tokens that occur in the captions: a training has no rows for others, of which there are
    49,408; 0 for those in --captions, if they are shards.
    """
    captions: str = ""
    """Shards or tables; synthetic captions get the mean length of the first 10,000."""
    checkpointing: bool = False
    """Compute each image block's activations again in the backward pass."""
    compile: bool | None = None
    """Also time with compiled transformer blocks, in a record of its own, and say how long
    compiling took; by default on a GPU only.
    """
    parallel: Parallel = "ddp"
    """ddp, or fsdp, whose blocks keep weights and activations in 16 bits, on one device too."""
    data: str = ""
    """Image-caption shards to load batches from, end to end; by default one synthetic batch stays
    on the device.
    """
    workers: Natural = 2
    """Loader processes, with --data."""
    num_steps: Natural = 0
    """Timed steps of each method; 0 for 50 on a GPU and 8 on a CPU."""
    out: Path = Path("runs/bench/step_time")
    """Folder for the record, named by model, batch, precision, options, torch and card."""
    profile: bool = field(default=False, metadata=OMIT_DEFAULT)
    """After the timed steps, profile five of each method: a trace for chrome://tracing or Perfetto
    beside the record, and the twenty longest kernels or operators in it."""
    dry_run: bool = field(default=False, metadata=OMIT_DEFAULT)
    """Print what would be timed, and the record's name, and stop."""
    again: bool = field(default=False, metadata=OMIT_DEFAULT)
    """Write a record beside the one that is there: the difference is the device's drift."""

    def factors(self, method: str) -> Factors:
        return replace(
            super().factors(method),
            batch_size=self.batch_size,
            text_context=self.text_context,
            caption_tokens=self.caption_tokens,
            tokens_in_use=self.tokens_in_use,
            checkpointing=self.checkpointing,
            compile=bool(self.compile),
            parallel=self.parallel,
        )
