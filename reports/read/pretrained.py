"""Which pre-training an encoder came from, and whether that was at the paper's scale.

A record of transfer says where its encoder lay (`runs/cc3m/pretrain/catlip-seed0`); the record of
that run says on what it was trained and what it is. What counts is the scale of the pre-training,
not the folder that the transfer was recorded in.
"""

from collections.abc import Mapping
from pathlib import PurePath

from catlip.kinds import Kind, Pretrain
from reports.read.records import Record, Records

# Ours and the paper's names of the two data sets.
SCALES = {"cc3m": "CC3M", "datacomp": "DataComp-1.3B"}
# Of the shortest trainings in Table 6.
LEAST_IMAGES = {"cc3m": 25 * 2.9e6, "datacomp": 200_000 * 65_536}
NEARLY = 0.9
ENCODERS = {"vit_b16": "ViT B/16", "vit_l16": "ViT L/16", "vit_h16": "ViT H/16"}
CONV = "_conv"  # what the name of an encoder with the release's stem ends with
# Pixels of a side at which the paper transfers: Appendix A. Table 2 has fine-tuning at 512 as well,
# in rows that say so.
RESOLUTIONS = {
    "linear_probe": 224,
    "finetune": 224,
    "multilabel": 512,
    "segmentation": 512,
    "detection": 1024,
}
Pretrainings = Mapping[tuple[str, str, str], Record[Pretrain]]


def pretrainings(records: Records) -> Pretrainings:
    """Root, scale and name of a pre-training -> its record."""
    return {(r.root, r.scale, r.name): r for r in records.of(Pretrain)}


def pretraining_of(record: Record[Kind], known: Pretrainings) -> Record[Pretrain] | None:
    """The pre-training, under the same root, of the encoder that a record of transfer is about;
    None where it is not known.
    """
    setup = record.setup
    spelling = setup.encoder or next(iter(setup.runs), "")  # runs: of kind longer_training
    parts = PurePath(spelling.removesuffix(":raw").removesuffix(".json")).parts
    if len(parts) < 3 or parts[-2] != "pretrain":
        return None
    pretraining = known.get((record.root, parts[-3], parts[-1]))
    return pretraining if pretraining and pretraining.method == record.method else None


def encoder_of(pretraining: Record[Pretrain] | None) -> str:
    """The architecture that was pre-trained, such as `vit_b16_conv`; empty where it is not
    known.
    """
    return pretraining.setup.recipe.encoder if pretraining else ""


def architecture(encoder: str) -> str:
    """The same whatever its stem: `vit_b16` of `vit_b16_conv`."""
    return encoder.removesuffix(CONV)


def is_whole(pretraining: Record[Pretrain]) -> bool:
    """Whether it was at the paper's scale: on one of its data sets, and about as long as its
    shortest at least.
    """
    return is_enough(pretraining.measured.images_seen, pretraining.scale)


def is_enough(images: float, scale: str) -> bool:
    """Whether so many images, repetitions counted, make a training of a scale of the paper's."""
    least = LEAST_IMAGES.get(scale)
    return least is not None and images >= NEARLY * least
