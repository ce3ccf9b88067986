"""What the cost of a training step depends on, and the flags that the benches of a step share."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from catlip.architectures import ENCODERS
from catlip.cli import InputError, choose, one_of
from catlip.costs import TEXT_VOCABULARY
from catlip.program.methods import methods
from catlip.program.options import RunOptions
from catlip.program.ranges import Count
from catlip.recipes.pretrain import Recipe
from catlip.training.schedule import PRECISIONS, AdamWForm

METHOD_NAMES = (*methods(), "catlip_dense")  # the other form of CatLIP in `bench.measuring.methods`
FOUR = ("catlip", "clip", "siglip", "superclass")  # each with a loss of its own kind
EncoderName = Annotated[str, one_of(ENCODERS)]
MethodNames = Annotated[tuple[str, ...], one_of(METHOD_NAMES)]
Parallel = Literal["ddp", "fsdp"]
CPU_BATCH = 4  # images per step by default


def is_user_encoder(model: str) -> bool:
    """Whether it is spelled as `--encoder` of a probe: `my_encoder.py:build`, `timm:NAME` ..."""
    return ":" in model


@dataclass(frozen=True)
class Factors:
    """What the cost of a step depends on; the defaults are those of a training."""

    method: str = "catlip"
    model: str = "vit_b16"
    resolution: int = 224
    batch_size: int = 256  # images per device
    precision: str = "bf16"  # fp32, bf16 (autocast) or fp16 (autocast and loss scaling)
    attention: Literal["sdpa", "naive"] = "sdpa"  # naive writes out every attention matrix
    checkpointing: bool = False  # compute each image block's activations again in the backward pass
    patch_drop_rate: float = 0.0
    compile: bool = False  # the transformer blocks
    optimizer: AdamWForm = "fused"
    grad_norm: Literal["foreach", "loop"] = "foreach"  # loop asks the device once per parameter
    num_classes: int = 24_320  # the paper's
    text_context: int = 0  # tokens of the text tower; 0 for what goes with the encoder
    caption_tokens: float = 0.0  # of a caption, in the mean; 0 if each fills the context
    packed_captions: bool = False  # do not compute what pads captions to the context
    tokens_in_use: int = TEXT_VOCABULARY  # for which text towers have rows, beside one for others
    parallel: Parallel = "ddp"
    range_augment: bool = False  # of the images, as in the paper
    seed: int = 0  # of the weights and of the synthetic batch

    def __post_init__(self) -> None:
        choose("method", self.method, dict.fromkeys(METHOD_NAMES))
        if not is_user_encoder(self.model):
            choose("encoder", self.model, ENCODERS)
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision!r} is not one of {', '.join(PRECISIONS)}")


def factors_of(method: str, recipe: Recipe) -> Factors:
    """What the cost of a micro-step of a training depends on, but for its vocabulary."""
    return Factors(
        method,
        recipe.encoder,
        recipe.resolution,
        batch_size=recipe.micro_batch,
        precision=recipe.precision,
        attention=recipe.attention,
        checkpointing=recipe.checkpointing,
        patch_drop_rate=recipe.patch_drop_rate,
        text_context=recipe.text_context or 0,
        range_augment=bool(recipe.range_augment),
    )


@dataclass(frozen=True)
class StepConfig(RunOptions):
    """The flags that the benches of a training step share.

    Attributes:
        takes_user_encoders: whether `model` may be spelled as `--encoder` of a probe.
    """

    takes_user_encoders: ClassVar[bool] = False

    model: EncoderName = "vit_b16"
    """Image encoder."""
    resolution: Count = 224
    """Image side in pixels."""
    num_classes: Count = 24_320
    """Size of CatLIP's vocabulary; the paper's is 24,320."""
    precision: str = ""
    """fp32, bf16 or fp16; by default bf16 on a GPU (fp16 if it has no bf16) and fp32 on a CPU."""

    def __post_init__(self) -> None:
        if is_user_encoder(self.model) and not self.takes_user_encoders:
            raise InputError(
                f"--model {self.model}: only bench.step_time and bench.memory take such an "
                f"encoder; give one of this project: {', '.join(ENCODERS)}"
            )

    def factors(self, method: str) -> Factors:
        """The factors of a method's step; a bench adds those that it has flags for."""
        return Factors(
            method,
            self.model,
            self.resolution,
            precision=self.precision,
            num_classes=self.num_classes,
        )
