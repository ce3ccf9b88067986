"""How to pre-train: the paper's Table 6, the release's configurations, and presets.

CATLIP and CLIP hold recipes by name. The GPU-hours in `about` are computed, not measured: the FLOPs
of a recipe's steps at 40 % of an A100's 312 TFLOP/s in bf16.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from catlip.data.sampler import DEVICES_PER_LANE
from catlip.program.ranges import Count, PartialFraction, Positive
from catlip.recipes.base import Initialization, MultiScaleRecipe
from catlip.records.record import OMIT_DEFAULT


@dataclass(frozen=True)
class Recipe(MultiScaleRecipe):
    """Everything that determines a pre-training run, except the data, the method and the seed."""

    encoder: str = "vit_b16"
    """Image encoder: hybrid_micro, hybrid_mini, hybrid_small, cnn (without attention), vit_tiny16,
    vit_small16, vit_b16, vit_l16, vit_h16, or with the release's stem vit_b16_conv, vit_l16_conv,
    vit_h16_conv."""
    drop_path: PartialFraction = 0.0
    """Probability that the last block is skipped for an image; it rises linearly from 0."""
    patch_drop_rate: PartialFraction = field(default=0.0, metadata=OMIT_DEFAULT)
    """Fraction of each image's patch tokens that are dropped in training, as in FLIP."""
    attention: Literal["sdpa", "naive"] = "sdpa"
    """PyTorch's fused attention, or one that writes out every attention matrix."""
    checkpointing: bool = False
    """Compute each block's activations again in the backward pass, to save memory."""
    devices_per_lane: Count = field(default=DEVICES_PER_LANE, metadata=OMIT_DEFAULT)
    """Devices of a machine, which read one lane: shards that no other machine needs to fetch."""
    initialization: Initialization = "own"
    """own: the encoder as timm initialises it, and the biases of CatLIP's classifier by the
    frequency of each noun. release: linear layers by Xavier's rule, with biases of zero."""
    temperature: Positive | None = field(default=None, metadata=OMIT_DEFAULT)
    """Initial value of the learned temperature; None for the value of the method's authors."""
    logit_bias: float | None = field(default=None, metadata=OMIT_DEFAULT)
    """Initial value of SigLIP's learned bias; None for its authors' -10."""
    text_context: Count | None = field(default=None, metadata=OMIT_DEFAULT)
    """Tokens of a caption that methods with tokens read; None for what goes with the encoder: 24
    for the hybrids, whose starter captions are short, else 77."""


DATACOMP = Recipe(
    about="Table 6(b), DataComp-1.3B: 3,100 A100-hours. Published: 84.3 % ImageNet-1k.",
    source="paper",
    iterations=200_000,
)
DATACOMP_L16 = replace(
    DATACOMP,
    about="Table 6(b), ViT-L/16: 10,800 A100-hours. Published: 86.5 % ImageNet-1k.",
    encoder="vit_l16",
    max_lr=6e-4,
    min_lr=6e-6,
    micro_batch=256,  # 49 GiB; the release's 512 need checkpointing, which costs a fifth more
    num_devices=256,
)
DATACOMP_H16 = replace(
    DATACOMP,
    about="Table 6(b), ViT-H/16: 22,300 A100-hours. Published: 86.7 % ImageNet-1k.",
    encoder="vit_h16",
    max_lr=4e-4,
    min_lr=4e-6,
    micro_batch=128,
    num_devices=512,
)
# Table 6(a) trains for 25, 50, 75 and 100 epochs. Its warm-up is not stated: this one is ours.
CC3M = Recipe(
    about="Table 6(a), CC3M: 17 A100-hours. Published: 58.0 % ImageNet-1k linear probe.",
    source="paper",
    epochs=25,
    micro_batch=512,
    num_devices=4,
    max_lr=2e-3,
    min_lr=2e-5,
    warmup_iterations=1_000,
)
# One image size only: below 64 pixels the multi-scale sampler has no room. Batch, rate, warm-up,
# decay and crop are from the best of 16 trials, reports/records/starter/tuning/catlip-00.json.
# CLIP has its own values of these below, and shares all others.
STARTER = Recipe(
    about="The starter data, minutes on two CPU cores; says nothing about the paper.",
    encoder="hybrid_mini",
    epochs=5,
    micro_batch=32,
    num_devices=1,
    resolution=48,
    min_resolution=48,
    max_resolution=48,
    num_scales=1,
    max_lr=1.3e-3,
    min_lr=1.3e-5,
    precision="fp32",  # many processors, most laptops' among them, have no other
    warmup_iterations=473,
    weight_decay=0.102,
    ema_decay=0.99,
    crop_scale=(0.87, 1.0),
    range_augment=(),
)


def photos_recipe(starter: Recipe) -> Recipe:
    """The starter's recipe for photographs with sentences, of which 1.5 % are longer than its 24
    tokens, and 0.1 % than 32. See reports/records/photos/tuning: the best is the same.
    """
    return replace(
        starter,
        about="5,000 to 500,000 images of your own; CatLIP and CLIP tuned on Flickr8k.",
        epochs=16,
        text_context=32,
    )


def _on_one_gpu(recipe: Recipe, about: str) -> Recipe:
    """The recipe with the same 2,048 images per step, in micro-batches that fit one GPU."""
    return replace(recipe, about=about, micro_batch=256, num_devices=8)


def _as_released(recipe: Recipe, about: str) -> Recipe:
    """The recipe with what the released configurations add to the paper's numbers."""
    return replace(
        recipe,
        about=about,
        source="release",
        encoder=f"{recipe.encoder}_conv",
        checkpointing=True,
        initialization="release",
    )


CATLIP = {
    "starter": STARTER,
    "photos": replace(photos_recipe(STARTER), warmup_iterations=441),
    "cc3m_b16": CC3M,
    "cc3m_b16_1gpu": _on_one_gpu(
        CC3M, "Table 6(a) on one GPU: the same 2,048 images a step, accumulated."
    ),
    "datacomp_b16": DATACOMP,
    "datacomp_b16_release": _as_released(
        DATACOMP, "As the released configuration: conv stem, checkpointing."
    ),
    "datacomp_l16": DATACOMP_L16,
    "datacomp_h16": DATACOMP_H16,
    "datacomp_l16_release": _as_released(
        replace(DATACOMP_L16, micro_batch=512, num_devices=128),
        "As the released configuration of ViT-L/16: conv stem, checkpointing.",
    ),
    "datacomp_h16_release": _as_released(
        replace(DATACOMP_H16, micro_batch=256, num_devices=256),
        "As the released configuration of ViT-H/16: conv stem, checkpointing.",
    ),
}

CC3M_CLIP = replace(
    CC3M,
    about="Table 6(a), CLIP on CC3M: 20 A100-hours.",
    max_lr=5e-4,
    min_lr=1e-6,
    betas=(0.9, 0.98),
)
DATACOMP_CLIP = replace(
    DATACOMP,
    about="Table 6(b), CLIP on DataComp-1.3B: 3,600 A100-hours. Published: 84.4 %.",
    max_lr=5e-4,
    min_lr=1e-6,
    betas=(0.9, 0.98),
    micro_batch=256,
    num_devices=256,
)
# The release's CLIP differs from its CatLIP in more than the paper says.
DATACOMP_CLIP_RELEASE = replace(
    _as_released(
        DATACOMP_CLIP,
        "As the released configuration: learning rate, precision, kernels, crops and sizes differ "
        "from CatLIP's.",
    ),
    max_lr=1e-3,
    eps=1e-6,
    precision="fp16",
    grad_clip=0.0,
    attention="naive",
    crop_scale=(0.9, 1.0),
    flip=0.0,
    min_resolution=160,
    num_scales=5,
    scale_multiple=32,
)
# With the betas of all methods but CatLIP. Its other settings are the best not only of CatLIP's
# trials, but also of SuperClass's and catlip_softmax's: superclass-00 and catlip_softmax-00.
BASELINE_STARTER = replace(STARTER, betas=(0.9, 0.98))
# The starter recipes of other methods: the best of 16 trials each, in
# reports/records/starter/tuning/METHOD-NUMBER.json. A method that is not listed here uses CLIP's
# starter; all other recipes are CLIP's, too.
STARTERS = {
    "siglip": replace(  # siglip-08
        BASELINE_STARTER,
        max_lr=8.9e-4,
        min_lr=8.9e-6,
        warmup_iterations=785,
        weight_decay=0.379,
        crop_scale=(0.43, 1.0),
        temperature=0.046,
        logit_bias=-7.5,
    ),
    # clip_bag-00; its settings, but for the temperature, are CatLIP's best.
    "clip_bag": replace(BASELINE_STARTER, temperature=0.0242),
    **dict.fromkeys(("superclass", "catlip_softmax"), BASELINE_STARTER),
    "clip_nouns": BASELINE_STARTER,  # not tuned
    "clip_catlip": replace(  # clip_catlip-13
        BASELINE_STARTER,
        max_lr=3.05e-3,
        min_lr=3.05e-5,
        warmup_iterations=729,
        weight_decay=0.0566,
        crop_scale=(0.72, 1.0),
        temperature=0.0652,
    ),
}
# Recipes for photographs of methods that were tuned on them, beside CatLIP and CLIP.
PHOTOS = {
    "clip_bag": replace(  # reports/records/photos/tuning/clip_bag-10.json, its best finalist too
        photos_recipe(STARTERS["clip_bag"]),
        micro_batch=64,
        max_lr=1.47e-3,
        min_lr=1.47e-5,
        warmup_iterations=260,
        weight_decay=0.071,
        crop_scale=(0.67, 1.0),
        temperature=0.153,
    ),
    "superclass": replace(  # its best finalist there, superclass-08
        photos_recipe(STARTERS["superclass"]),
        max_lr=8.8e-4,
        min_lr=8.8e-6,
        warmup_iterations=731,
        weight_decay=0.379,
        crop_scale=(0.43, 1.0),
    ),
}
CLIP_STARTER = replace(  # the best of 16 trials, reports/records/starter/tuning/clip-07.json
    BASELINE_STARTER,
    micro_batch=64,
    max_lr=6.3e-4,
    min_lr=6.3e-6,
    warmup_iterations=127,
    weight_decay=0.048,
    crop_scale=(0.82, 1.0),
    temperature=0.057,
)
CLIP = {
    "starter": CLIP_STARTER,
    "photos": replace(photos_recipe(CLIP_STARTER), warmup_iterations=119),
    "cc3m_b16": CC3M_CLIP,
    "cc3m_b16_1gpu": _on_one_gpu(
        CC3M_CLIP, "Table 6(a) on one GPU: 2,048 pairs contrasted, accumulated."
    ),
    "datacomp_b16": DATACOMP_CLIP,
    "datacomp_b16_release": DATACOMP_CLIP_RELEASE,
    # The only larger encoder that the release trains by CLIP, with the configuration of an earlier
    # paper. There is none for ViT-L.
    "datacomp_h16_release": replace(
        DATACOMP_CLIP_RELEASE,
        about="As the released configuration of ViT-H/16 by CLIP: 120,000 x 131,072 pairs.",
        encoder="vit_h16_conv",
        max_lr=5e-4,
        precision="bf16",
        num_devices=512,
        iterations=120_000,
        warmup_iterations=1_000,
    ),
}
