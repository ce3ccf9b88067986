"""One list of the differences from the reference release of CatLIP.

A recipe with the numbers of the paper or of the release (`source`) can be mistaken for theirs: its
`--dry-run` prints each difference that concerns it, and records made by it have them in their
notes.
"""

from typing import Any

# The warm-up takes at most one step in so many: with little data, a run is shorter than the warm-up
# of Table 7.
MIN_WARMUP_DIVISOR = 10
# Tasks; all other methods are methods of pre-training.
TRANSFER = ("probe", "finetune", "multilabel", "segmentation", "detection")
Recipe = Any  # an ImageRecipe; its module imports more than a report should need


def warmup_steps(recipe: Recipe, num_steps: int) -> int:
    """Steps of warm-up in a transfer of `num_steps`: the recipe's, but at most a tenth of them."""
    return min(recipe.warmup_iterations, num_steps // MIN_WARMUP_DIVISOR)


def differences(recipe: Recipe, method: str, num_steps: int | None = None) -> list[str]:
    """The differences from the release in a training by `recipe`; [] for this project's recipes.
    Methods are named as in records; TRANSFER names the tasks of transfer.
    """
    if recipe.source == "own":
        return []
    transfers, detects = method in TRANSFER, method == "detection"
    own_stem = not transfers and not recipe.encoder.endswith("_conv")
    initialization = getattr(recipe, "initialization", "")
    warmup = recipe.warmup_iterations
    if num_steps is not None and transfers:
        warmup = warmup_steps(recipe, num_steps)
    # What differs -> whether it concerns this training.
    concerns = {
        "stem: ViT's one strided convolution; in the release three with batch norm (--encoder "
        "..._conv)": own_stem,
        "initialization: own; in the release linear layers start by Xavier's rule with zero biases "
        "(--initialization release)": (
            initialization == "own" and method not in ("probe", "segmentation")
        ),
        "positions of encoders without the release's stem are resampled on their grid, and the "
        "class token has one; in the release along the row of tokens, and it has none (encoders "
        "..._conv)": transfers or own_stem,
        "captions: the first 4,096 characters are read; in the release all": not transfers,
        "the text tower is OpenCLIP's and starts as OpenCLIP starts it": method == "clip",
        "no weight decay of RangeAugment's six numbers and of CLIP's temperature; the release "
        "decays all but vectors": bool(recipe.range_augment) or method == "clip",
        "learning rates are not rounded; the release rounds them to eight decimals": True,
        "order: samples are mixed across 16 shards at a time, or one for each 8 devices; the "
        "release reads its first epoch in order and mixes all samples of a node in later ones": (
            not transfers
        ),
        "learning rate and RangeAugment's target change every step; in the release once an epoch "
        "(--per-epoch)": (
            method in ("finetune", "multilabel", "segmentation") and not recipe.per_epoch
        ),
        "RangeAugment's target changes every step; in the release once in four passes over the "
        "data": detects,
        "the decay of the averaged weights rises from .1 at the first step; in the release it is "
        "constant (--no-ema-rising)": transfers and recipe.ema_rising,
        "test images: the encoder's own preprocessing; in the release the shorter side is resized "
        "and the centre cropped (--test-resize: 232 at 224 pixels, 512 at 512)": (
            method in ("finetune", "multilabel") and not recipe.test_resize
        ),
        "the head's convolutions start as mmsegmentation's; in the release as torch's own "
        "(--initialization release)": method == "segmentation" and initialization == "own",
        "epochs are single passes over the data; in the release each is four passes "
        "(table_7e_*_release)": detects and recipe.source == "paper",
        "training images are jittered in scale as in ViTDet; in the release they are resized to "
        "squares (table_7e_*_release)": detects and bool(recipe.scale_jitter),
        "the loss of boxes is detectron2's absolute error; in the release torchvision's, which is "
        "quadratic below 1/9 (table_7e_*_release)": detects and not recipe.smooth_l1_beta,
        "pyramid and heads start as detectron2's, class scores with a deviation of .01 and box "
        "offsets of .001; in the release as its configuration says for each layer": detects,
        "anchors have detectron2's exact sides; in the release torchvision's, rounded to "
        "pixels": detects,
        "the pyramid is detectron2's: each level is separate, the last by max pooling; in the "
        "release coarser levels are added to finer ones, the last is a convolution, and heads take "
        "objects from it too": detects,
        f"warm-up: {warmup} steps, a tenth of this run; in the release {recipe.warmup_iterations} "
        "for a run of any length": warmup < recipe.warmup_iterations,
    }
    return [f"not as in the release: {what}" for what, holds in concerns.items() if holds]
