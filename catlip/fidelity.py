"""One list of the differences from the reference release of CatLIP.

A recipe with the numbers of the paper or of the release (`source`) can be mistaken for theirs: its
`--dry-run` prints each difference that concerns it, and records made by it have them in their
notes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# The warm-up is at most one step in LEAST_SHARE: with little data a run is shorter than the warm-up
# of Table 7.
LEAST_SHARE = 10

Recipe = Any  # an ImageRecipe; its module imports more than a report should need


@dataclass(frozen=True)
class Difference:
    """One difference from the release: how it is here and there, and whether it concerns a training
    by a recipe and method. Methods of pre-training are named as in records, those of transfer as in
    TRANSFER.
    """

    what: str
    concerns: Callable[[Recipe, str], bool]


def of(*methods: str) -> Callable[[Recipe, str], bool]:
    return lambda recipe, method: method in methods


# All other methods are methods of pre-training.
TRANSFER = ("probe", "finetune", "multilabel", "segmentation", "detection")

DIFFERENCES = (
    Difference(
        "stem: ViT's one strided convolution; in the release three with batch norm (--encoder "
        "..._conv)",
        lambda recipe, method: method not in TRANSFER and not recipe.encoder.endswith("_conv"),
    ),
    Difference(
        "initialization: own; in the release linear layers start by Xavier's rule with zero "
        "biases (--initialization release)",
        lambda recipe, method: (
            getattr(recipe, "initialization", "") == "own"
            and method not in ("probe", "segmentation")
        ),
    ),
    Difference(
        "positions of encoders without the release's stem are resampled on their grid; in the "
        "release along the row of tokens (encoders ..._conv)",
        lambda recipe, method: method in TRANSFER or not recipe.encoder.endswith("_conv"),
    ),
    Difference(
        "captions: the first 4,096 characters are read; in the release all",
        lambda recipe, method: method not in TRANSFER,
    ),
    Difference("the text tower is OpenCLIP's and starts as OpenCLIP starts it", of("clip")),
    Difference(
        "no weight decay of RangeAugment's six numbers and of CLIP's temperature; the release "
        "decays all but vectors",
        lambda recipe, method: bool(recipe.range_augment) or method == "clip",
    ),
    Difference(
        "learning rates are not rounded; the release rounds them to eight decimals",
        lambda recipe, method: True,
    ),
    Difference(
        "order: samples are mixed within windows of 16 shards; the release reads its first epoch "
        "in order and mixes all samples of a node in later ones",
        lambda recipe, method: method not in TRANSFER,
    ),
    Difference(
        "learning rate and RangeAugment's target change every step; in the release once an "
        "epoch (--per-epoch)",
        lambda recipe, method: (
            method in ("finetune", "multilabel", "segmentation") and not recipe.per_epoch
        ),
    ),
    Difference(
        "RangeAugment's target changes every step; in the release once in four passes over the "
        "data",
        of("detection"),
    ),
    Difference(
        "the decay of the averaged weights rises from .1 at the first step; in the release it "
        "is constant (--no-ema-rising)",
        lambda recipe, method: method in TRANSFER and recipe.ema_rising,
    ),
    Difference(
        "test images: the encoder's own preprocessing; in the release the shorter side is resized "
        "and the centre cropped (--test-resize: 232 at 224 pixels, 512 at 512)",
        lambda recipe, method: method in ("finetune", "multilabel") and not recipe.test_resize,
    ),
    Difference(
        "the head's convolutions start as mmsegmentation's; in the release as torch's own "
        "(--initialization release)",
        lambda recipe, method: method == "segmentation" and recipe.initialization == "own",
    ),
    Difference(
        "epochs are single passes over the data; in the release each is four passes "
        "(table_7e_*_release)",
        lambda recipe, method: method == "detection" and recipe.source == "paper",
    ),
    Difference(
        "training images are jittered in scale as in ViTDet; in the release they are resized to "
        "squares (table_7e_*_release)",
        lambda recipe, method: method == "detection" and bool(recipe.scale_jitter),
    ),
    Difference(
        "the loss of boxes is detectron2's absolute error; in the release torchvision's, which is "
        "quadratic below 1/9 (table_7e_*_release)",
        lambda recipe, method: method == "detection" and not recipe.smooth_l1_beta,
    ),
    Difference(
        "pyramid and heads start as detectron2's, class scores with a deviation of .01 and box "
        "offsets of .001; in the release as its configuration says for each layer",
        of("detection"),
    ),
    Difference(
        "anchors have detectron2's exact sides; in the release torchvision's, rounded to pixels",
        of("detection"),
    ),
    Difference(
        "the pyramid is detectron2's: each level is separate, the last by max pooling; in the "
        "release coarser levels are added to finer ones, the last is a convolution, and heads take "
        "objects from it too",
        of("detection"),
    ),
)


def warmup_steps(recipe: Recipe, num_steps: int) -> int:
    """Steps of warm-up in a transfer of `num_steps`: the recipe's, but at most a tenth of them."""
    return min(recipe.warmup_iterations, num_steps // LEAST_SHARE)


def differences(recipe: Recipe, method: str, num_steps: int | None = None) -> list[str]:
    """The differences from the release in a training by `recipe`; [] for this project's recipes."""
    if recipe.source == "own":
        return []
    texts = [difference.what for difference in DIFFERENCES if difference.concerns(recipe, method)]
    if num_steps is not None and method in TRANSFER:
        steps = warmup_steps(recipe, num_steps)
        if steps < recipe.warmup_iterations:
            texts.append(
                f"warm-up: {steps} steps, a tenth of this run; in the release "
                f"{recipe.warmup_iterations} for a run of any length"
            )
    return [f"not as in the release: {what}" for what in texts]
