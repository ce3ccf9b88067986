"""The release's names of weights, and this project's names for them.

The release's checkpoints are plain dictionaries of tensors. A classification checkpoint is the
encoder with its classifier. Checkpoints of segmentation, detection and CLIP hold the encoder under
a prefix, without classifier and class token if they do not classify whole images, and their own
parts. RangeAugment's six scalars are stored with the encoder.

One error of its code is not repeated: without a class token, and with as many tokens as channels
(ViT-L on images of 512 pixels), it mistakes tokens for channels and normalises over the wrong
dimension.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from catlip.cli import InputError
from catlip.encoder import ENCODERS, Pool, build_encoder
from catlip.range_augment import BOUNDS
from catlip.weights.files import differences

Task = Literal["classification", "segmentation", "detection", "clip"]
OutProj = Literal["out_proj_attn", "out_proj"]  # with fused attention, and without
Part = Literal["encoder", "classifier", "range_augment", "rest"]

PREFIXES: dict[Task, str] = {
    "classification": "",
    "segmentation": "encoder.",
    "detection": "model.backbone.encoder.",
    "clip": "image_encoder.",
}
# The weight that has a dimension for the classes, and the number of that dimension.
CLASSIFIERS: dict[Task, tuple[str, int]] = {
    "classification": ("classifier.weight", 0),
    "segmentation": ("seg_head.classifier.block.conv.weight", 0),
    "detection": ("model.roi_heads.box_predictor.cls_score.weight", 0),
    "clip": ("image_encoder.classifier.proj", 1),
}
RESOLUTION = 224  # of the 14 x 14 positions, whatever the checkpoint was fine-tuned at
POSITIONS = "pos_embed.pos_embed.pos_embed"
# What a checkpoint holds beside the encoder and its classifier: CLIP's text side, and the heads of
# the dense tasks. It is not checked, since nothing here reads it.
OTHERS: dict[Task, tuple[str, ...]] = {
    "classification": (),
    "segmentation": ("seg_head.",),
    "detection": (
        "model.rpn.",
        "model.roi_heads.",
        "model.backbone.encoder.simple_fpn.",
        "model.backbone.backbone_proj_layers.",
        "model.backbone.fpn_proj_layers.",
        "model.backbone.extra_layers.",
    ),
    "clip": ("text_encoder.", "logit_scale"),
}

STEM = {
    "0": "0.block.conv",
    "1": "0.block.norm",
    "3": "1.block.conv",
    "4": "1.block.norm",
    "6": "2.block.conv",
}
BLOCK = {
    "norm1": "pre_norm_mha.0",
    "attn.qkv": "pre_norm_mha.1.qkv_proj",
    "attn.proj": "pre_norm_mha.1",  # and then out_proj_attn or out_proj
    "norm2": "pre_norm_ffn.0",
    "mlp.fc1": "pre_norm_ffn.1",
    "mlp.fc2": "pre_norm_ffn.4",
}


class Entry(NamedTuple):
    """The part that a released weight belongs to, its name and shape there, and the release's."""

    part: Part
    name: str
    shape: tuple[int, ...]
    released_shape: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How a released checkpoint is laid out; `num_classes` of CLIP is the joint width of images and
    texts, and `augmented` says whether it holds RangeAugment's scalars.
    """

    encoder: str
    task: Task
    num_classes: int
    out_proj: OutProj = "out_proj_attn"
    augmented: bool = True

    @property
    def pool(self) -> Pool:
        """How tokens become features: dense tasks have no class token, so they use the mean."""
        return "avg" if self.task in ("segmentation", "detection") else "token"

    def entries(self) -> dict[str, Entry]:
        """Every weight of encoder, classifier and RangeAugment, by its released name."""
        prefix, width = PREFIXES[self.task], ENCODERS[self.encoder].width
        with torch.device("meta"):
            weights = build_encoder(self.encoder, RESOLUTION, pool=self.pool).state_dict()
        entries = {}
        for name, tensor in weights.items():
            shape = tuple(tensor.shape)
            released_shape = (1, *shape) if name == "pos_embed" else shape
            entry = Entry("encoder", name, shape, released_shape)
            entries[prefix + released_name(name, self.out_proj)] = entry
        if self.augmented:
            for operation, end in itertools.product(BOUNDS, ("low", "high")):
                name = f"{prefix}neural_augmentor.{operation}._{end}"
                entries[name] = Entry("range_augment", f"{end}.{operation}", (), ())
        classifier: dict[str, tuple[int, ...]] = {}
        if self.task == "classification":
            classifier = {"weight": (self.num_classes, width), "bias": (self.num_classes,)}
        elif self.task == "clip":
            classifier = {"proj": (width, self.num_classes)}
        for name, shape in classifier.items():
            entries[f"{prefix}classifier.{name}"] = Entry("classifier", name, shape, shape)
        return entries


def released_name(name: str, out_proj: OutProj) -> str:
    """The release's name, without prefix, of a weight of an encoder with the release's stem."""
    if name == "pos_embed":
        return POSITIONS
    module, _, kind = name.rpartition(".")
    if module == "norm":
        return f"post_transformer_norm.{kind}"
    if module.startswith("patch_embed.proj."):
        return f"patch_emb.{STEM[module.removeprefix('patch_embed.proj.')]}.{kind}"
    if module.startswith("blocks."):
        _, number, layer = module.split(".", 2)
        released = f"transformer.{number}.{BLOCK[layer]}"
        return f"{released}.{out_proj}.{kind}" if layer == "attn.proj" else f"{released}.{kind}"
    return name


def detect_layout(tensors: Mapping[str, Tensor]) -> Layout | None:
    """The layout that these weights have or come closest to; None if they are not the release's."""
    task = next((task for task in get_args(Task) if PREFIXES[task] + POSITIONS in tensors), None)
    if task is None:
        return None
    prefix = PREFIXES[task]
    blocks = f"{prefix}transformer."
    numbers = {name.removeprefix(blocks).split(".")[0] for name in tensors if blocks in name}
    width, depth = tensors[prefix + POSITIONS].shape[-1:], len(numbers)
    fitting = [
        name
        for name, shape in ENCODERS.items()
        if shape.stem == "conv" and ((shape.width,), shape.depth) == (width, depth)
    ]
    if not fitting:
        raise InputError(f"no encoder of the release is {[*width]} wide and has {depth} blocks")
    head, axis = CLASSIFIERS[task]
    unfused = f"{blocks}0.pre_norm_mha.1.out_proj.weight" in tensors
    return Layout(
        fitting[0],
        task,
        tensors[head].shape[axis] if head in tensors and tensors[head].ndim > axis else 0,
        out_proj="out_proj" if unfused else "out_proj_attn",
        augmented=any(name.startswith(f"{prefix}neural_augmentor.") for name in tensors),
    )


def split_parts(tensors: Mapping[str, Tensor], layout: Layout) -> dict[Part, dict[str, Tensor]]:
    """A checkpoint's weights by part, under our names and in our shapes. Raises: InputError."""
    others = OTHERS[layout.task]
    parts: dict[Part, dict[str, Tensor]] = {part: {} for part in get_args(Part)}
    parts["rest"] = {name: t for name, t in tensors.items() if name.startswith(others)}
    checked = {name: t for name, t in tensors.items() if name not in parts["rest"]}
    entries = layout.entries()
    expected = {name: entry.released_shape for name, entry in entries.items()}
    if problems := differences(checked, expected):
        raise InputError(
            f"it is not a whole released {layout.task} checkpoint of {layout.encoder}: "
            f"{'; '.join(problems)}"
        )
    for name, entry in entries.items():
        parts[entry.part][entry.name] = tensors[name].reshape(entry.shape)
    return parts
