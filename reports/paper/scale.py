"""What counts as the paper's scale: its data sets, encoders, lengths and protocols."""

from catlip.pretraining.result import Pretrain
from catlip.records.run import Run

# Our name of a data set -> the paper's.
SCALES = {"cc3m": "CC3M", "datacomp": "DataComp-1.3B"}
CC3M_IMAGES = 2.9e6
# Images seen, repetitions counted, in the shortest trainings of Table 6.
MIN_IMAGES = {"cc3m": 25 * CC3M_IMAGES, "datacomp": 200_000 * 65_536}
NEARLY = 0.9
ENCODERS = {"vit_b16": "ViT B/16", "vit_l16": "ViT L/16", "vit_h16": "ViT H/16"}
CONV = "_conv"  # ending of the names of encoders with the release's stem
PAPERS = ("imagenet", "places365")  # the paper's tasks, in its order
# Side of an image, in pixels, in the paper's transfers (Appendix A). Table 2 also fine-tunes at
# 512, in rows that say so.
RESOLUTIONS = {
    "linear_probe": 224,
    "finetune": 224,
    "multilabel": 512,
    "segmentation": 512,
    "detection": 1024,
}


def architecture(encoder: str) -> str:
    """The name of an encoder without its stem: `vit_b16` for `vit_b16_conv`."""
    return encoder.removesuffix(CONV)


def is_enough(images: float, scale: str) -> bool:
    """Whether so many images are enough for the paper's scale; False for any other scale."""
    return scale in MIN_IMAGES and images >= NEARLY * MIN_IMAGES[scale]


def is_whole(pretraining: Run[Pretrain]) -> bool:
    return is_enough(pretraining.metrics.images_seen, pretraining.scale)
