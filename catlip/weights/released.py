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
from catlip.range_augment import OPERATIONS
from catlip.weights.files import Shapes, differences

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
TEXT_SIDE = ("text_encoder.", "logit_scale")  # CLIP's other half
ASPP_CHANNELS = 512  # DeepLabv3, Section 4.3
PYRAMID_CHANNELS = 256  # Mask R-CNN, Section 4.3
BOX_FEATURES = 1024
BOX_SIDE = 7  # of the pooled features that the box head reads
ANCHORS = 3

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
    """Where a released weight belongs.

    Attributes:
        part: the part of a checkpoint that it belongs to.
        name, shape: in this part.
        released_shape: in the release.
    """

    part: Part
    name: str
    shape: tuple[int, ...]
    released_shape: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How a released checkpoint is laid out.

    Attributes:
        encoder: a name of catlip.encoder.ENCODERS.
        num_classes: of its classifier; for CLIP, the joint width of images and texts.
        augmented: whether it holds RangeAugment's scalars.
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
        """Every weight of a checkpoint with this layout, by its released name.

        CLIP's text side is not included.
        """
        prefix, width = PREFIXES[self.task], ENCODERS[self.encoder].width
        with torch.device("meta"):
            weights = build_encoder(self.encoder, RESOLUTION, pool=self.pool).state_dict()
        entries = {}
        for name, tensor in weights.items():
            shape = tuple(tensor.shape)
            in_release = (1, *shape) if name == "pos_embed" else shape
            entry = Entry("encoder", name, shape, in_release)
            entries[prefix + released_name(name, self.out_proj)] = entry
        if self.augmented:
            for operation, end in itertools.product(OPERATIONS, ("low", "high")):
                name = f"{prefix}neural_augmentor.{operation}._{end}"
                entries[name] = Entry("range_augment", f"{end}.{operation}", (), ())
        classifier: Shapes = {}
        head: Shapes = {}
        if self.task == "classification":
            classifier = {"weight": (self.num_classes, width), "bias": (self.num_classes,)}
        elif self.task == "clip":
            classifier = {"proj": (width, self.num_classes)}
        elif self.task == "segmentation":
            head = _deeplabv3(width, self.num_classes)
        else:
            head = _mask_rcnn(width, self.num_classes)
        for name, expected in classifier.items():
            entries[f"{prefix}classifier.{name}"] = Entry("classifier", name, expected, expected)
        for name, expected in head.items():
            entries[name] = Entry("rest", name, expected, expected)
        return entries

    def is_carried(self, name: str) -> bool:
        """Whether `name` is of CLIP's text side, which is copied unchanged and unchecked."""
        return self.task == "clip" and name.startswith(TEXT_SIDE)


def released_name(name: str, out_proj: OutProj) -> str:
    """The release's name, without prefix, of a weight of `build_encoder("vit_b16_conv", ...)`.

    The other encoders with the release's stem have the same names.
    """
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


def find_layout(tensors: Mapping[str, Tensor]) -> Layout | None:
    """The layout that these weights have or come closest to; None if they are not the release's.

    Raises: InputError when they are the release's, but of an encoder of another size.
    """
    task = next((task for task in get_args(Task) if PREFIXES[task] + POSITIONS in tensors), None)
    if task is None:
        return None
    prefix = PREFIXES[task]
    blocks = f"{prefix}transformer."
    depth = len(
        {name.removeprefix(blocks).split(".", 1)[0] for name in tensors if name.startswith(blocks)}
    )
    width = tensors[prefix + POSITIONS].shape[-1:]
    released = {name: shape for name, shape in ENCODERS.items() if shape.stem == "conv"}
    fitting = [
        name for name, shape in released.items() if ((shape.width,), shape.depth) == (width, depth)
    ]
    if not fitting:
        sizes = ", ".join(f"{n} ({s.width} x {s.depth})" for n, s in released.items())
        raise InputError(
            f"its encoder is {'x'.join(map(str, width))} wide and has {depth} blocks; the release "
            f"has {sizes}"
        )
    unfused = f"{blocks}0.pre_norm_mha.1.out_proj.weight" in tensors
    return Layout(
        fitting[0],
        task,
        _num_classes(tensors, task),
        out_proj="out_proj" if unfused else "out_proj_attn",
        augmented=any(name.startswith(f"{prefix}neural_augmentor.") for name in tensors),
    )


def _num_classes(tensors: Mapping[str, Tensor], task: Task) -> int:
    name, axis = CLASSIFIERS[task]
    return tensors[name].shape[axis] if name in tensors and tensors[name].ndim > axis else 0


def faults(tensors: Mapping[str, Tensor], layout: Layout) -> list[str]:
    """What keeps `tensors` from being a complete checkpoint of this layout, in words.

    [] when they are one.
    """
    checked = {name: tensor for name, tensor in tensors.items() if not layout.is_carried(name)}
    return differences(
        checked, {name: entry.released_shape for name, entry in layout.entries().items()}
    )


def split(tensors: Mapping[str, Tensor], layout: Layout) -> dict[Part, dict[str, Tensor]]:
    """A checkpoint's weights by the part they belong to, under our names and in our shapes."""
    parts: dict[Part, dict[str, Tensor]] = {part: {} for part in get_args(Part)}
    for name, entry in layout.entries().items():
        parts[entry.part][entry.name] = tensors[name].reshape(entry.shape)
    parts["rest"] |= {name: tensor for name, tensor in tensors.items() if layout.is_carried(name)}
    return parts


# Heads of the release's segmentation and detection checkpoints. They are not part of an image
# encoder, but are checked with it; the totals are the paper's parameter counts.


def _deeplabv3(width: int, num_classes: int) -> Shapes:
    """DeepLabv3's head on features `width` wide: five branches, a projection, a classifier."""
    branches, channels = "seg_head.aspp.aspp_layer", ASPP_CHANNELS
    pooled = f"{branches}.convs.4.aspp_pool.conv_1x1"
    return _together(
        _convolution(f"{branches}.convs.0", width, channels, norm="batch"),
        *(
            _convolution(f"{branches}.convs.{i}", width, channels, 3, norm="batch")
            for i in (1, 2, 3)
        ),
        _convolution(pooled, width, channels, norm="batch"),
        _convolution(f"{branches}.project", 5 * channels, channels, norm="batch"),
        _convolution("seg_head.classifier", channels, num_classes, bias=True),
    )


def _mask_rcnn(width: int, num_classes: int) -> Shapes:
    """The simple feature pyramid on an encoder `width` wide, and Mask R-CNN's heads: region
    proposals, boxes and masks.
    """
    half, quarter, channels = width // 2, width // 4, PYRAMID_CHANNELS
    backbone, pyramid = "model.backbone", "model.backbone.encoder.simple_fpn"
    rpn, heads = "model.rpn.head", "model.roi_heads"
    widths = {4: quarter, 8: half, 16: width, 32: width}  # of the feature map of each stride
    project, smooth = f"{backbone}.backbone_proj_layers", f"{backbone}.fpn_proj_layers"
    smoothed = (*(f"{smooth}.{stride}" for stride in widths), f"{backbone}.extra_layers.64")
    return _together(
        _deconvolution(f"{pyramid}.out_l2.0", width, half, bias=True),
        _affine(f"{pyramid}.out_l2.0.block.norm", (half,)),
        _deconvolution(f"{pyramid}.out_l2.1", half, quarter, bias=True),
        _deconvolution(f"{pyramid}.out_l3", width, half, bias=True),
        *(
            _convolution(f"{project}.{stride}", inputs, channels, norm="layer", bias=True)
            for stride, inputs in widths.items()
        ),
        *(_convolution(name, channels, channels, 3, norm="layer", bias=True) for name in smoothed),
        _tower(f"{rpn}.conv", 2),
        _convolution(f"{rpn}.cls_logits", channels, ANCHORS, bias=True),
        _convolution(f"{rpn}.bbox_pred", channels, 4 * ANCHORS, bias=True),
        _tower(f"{heads}.box_head", 4),
        _affine(f"{heads}.box_head.13", (BOX_FEATURES, channels * BOX_SIDE**2)),
        _affine(f"{heads}.box_predictor.cls_score", (num_classes, BOX_FEATURES)),
        _affine(f"{heads}.box_predictor.bbox_pred", (4 * num_classes, BOX_FEATURES)),
        _tower(f"{heads}.mask_head", 4),
        _deconvolution(f"{heads}.mask_predictor.0", channels, channels),
        _affine(f"{heads}.mask_predictor.1", (channels,)),
        _convolution(f"{heads}.mask_predictor.3", channels, num_classes, bias=True),
    )


def _tower(name: str, depth: int) -> Shapes:
    """`depth` times a 3x3 convolution, layer norm and ReLU, numbered through."""
    channels = PYRAMID_CHANNELS
    return _together(
        *(_convolution(f"{name}.{3 * i}", channels, channels, 3) for i in range(depth)),
        *(_affine(f"{name}.{3 * i + 1}", (channels,)) for i in range(depth)),
    )


def _convolution(
    name: str, inputs: int, outputs: int, kernel: int = 1, *, norm: str = "", bias: bool = False
) -> Shapes:
    shapes: Shapes = {f"{name}.block.conv.weight": (outputs, inputs, kernel, kernel)}
    if bias:
        shapes |= {f"{name}.block.conv.bias": (outputs,)}
    if norm:
        shapes |= _affine(f"{name}.block.norm", (outputs,))
    if norm == "batch":
        shapes |= {f"{name}.block.norm.running_{what}": (outputs,) for what in ("mean", "var")}
        shapes |= {f"{name}.block.norm.num_batches_tracked": ()}
    return shapes


def _deconvolution(name: str, inputs: int, outputs: int, *, bias: bool = False) -> Shapes:
    shapes: Shapes = {f"{name}.block.conv.weight": (inputs, outputs, 2, 2)}
    return {**shapes, f"{name}.block.conv.bias": (outputs,)} if bias else shapes


def _affine(name: str, shape: tuple[int, ...]) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _together(*parts: Shapes) -> Shapes:
    return {name: shape for part in parts for name, shape in part.items()}
