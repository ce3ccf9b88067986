"""Finds the pre-training of an encoder, and whether it was at the paper's scale.

A transfer record holds the path of its encoder (`runs/cc3m/pretrain/catlip-seed0`); the record of
that run holds the encoder's architecture and its training data. The scale of the pre-training
counts, not the folder that the transfer was recorded in.
"""

from collections.abc import Mapping
from pathlib import PurePath

from catlip.pretraining.result import Pretrain
from catlip.results.kind import Kind
from catlip.results.run import Records, Run

# Our name of a data set -> the paper's.
SCALES = {"cc3m": "CC3M", "datacomp": "DataComp-1.3B"}
CC3M_IMAGES = 2.9e6
# Images seen, repetitions counted, in the shortest trainings of Table 6.
LEAST_IMAGES = {"cc3m": 25 * CC3M_IMAGES, "datacomp": 200_000 * 65_536}
NEARLY = 0.9
ENCODERS = {"vit_b16": "ViT B/16", "vit_l16": "ViT L/16", "vit_h16": "ViT H/16"}
CONV = "_conv"  # ending of the names of encoders with the release's stem
# Side of an image, in pixels, in the paper's transfers (Appendix A). Table 2 also fine-tunes at
# 512, in rows that say so.
RESOLUTIONS = {
    "linear_probe": 224,
    "finetune": 224,
    "multilabel": 512,
    "segmentation": 512,
    "detection": 1024,
}
Pretrainings = Mapping[tuple[str, str, str], Run[Pretrain]]


def pretrainings(records: Records) -> Pretrainings:
    """Root, scale and name of a pre-training -> its record."""
    return {(r.root, r.scale, r.name): r for r in records.of(Pretrain)}


def pretraining_of(record: Run[Kind], known: Pretrainings) -> Run[Pretrain] | None:
    """The pre-training, under the same root, of a transfer record's encoder."""
    parts = PurePath(record.setup.encoder.removesuffix(":raw").removesuffix(".json")).parts
    if len(parts) < 3 or parts[-2] != "pretrain":
        return None
    pretraining = known.get((record.root, parts[-3], parts[-1]))
    return pretraining if pretraining and pretraining.method == record.method else None


def encoder_of(pretraining: Run[Pretrain] | None) -> str:
    """The architecture that was pre-trained, such as `vit_b16_conv`."""
    return pretraining.setup.recipe.encoder if pretraining else ""


def architecture(encoder: str) -> str:
    """The name of an encoder without its stem: `vit_b16` for `vit_b16_conv`."""
    return encoder.removesuffix(CONV)


def is_whole(pretraining: Run[Pretrain]) -> bool:
    """Whether a pre-training was at the paper's scale."""
    return is_enough(pretraining.measured.images_seen, pretraining.scale)


def is_enough(images: float, scale: str) -> bool:
    """Whether a training on this number of images, repetitions counted, is long enough for the
    paper's scale; False for a scale that is not the paper's.
    """
    least = LEAST_IMAGES.get(scale)
    return least is not None and images >= NEARLY * least
