"""The release's checkpoints made by hand, and its encoder read by hand, from its description alone.

Nothing of catlip is used, so that a wrong name, shape or order in catlip.weights shows.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor

HEAD_DIM = 64
TINY = (128, 2)  # width and blocks of the small encoder: two heads
SIZES = {"vit_b16_conv": (768, 12), "vit_l16_conv": (1024, 24), "vit_h16_conv": (1280, 32)}
"""Width and blocks."""
PREFIXES = {
    "classification": "",
    "segmentation": "encoder.",
    "detection": "model.backbone.encoder.",
    "clip": "image_encoder.",
}

Shapes = dict[str, tuple[int, ...]]


def encoder_shapes(
    width: int, depth: int, class_token: bool = True, out_proj: str = "out_proj_attn"
) -> Shapes:
    """Shapes of the encoder, without its prefix."""
    stem = max(32, width // 4)
    shapes: Shapes = {"cls_token": (1, 1, width)} if class_token else {}
    shapes["pos_embed.pos_embed.pos_embed"] = (1, 1, 196, width)
    for number, inputs, kernel in ((0, 3, 4), (1, stem, 2)):
        shapes[f"patch_emb.{number}.block.conv.weight"] = (stem, inputs, kernel, kernel)
        for what in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"patch_emb.{number}.block.norm.{what}"] = (stem,)
        shapes[f"patch_emb.{number}.block.norm.num_batches_tracked"] = ()
    shapes["patch_emb.2.block.conv.weight"] = (width, stem, 2, 2)
    shapes["patch_emb.2.block.conv.bias"] = (width,)
    for block in (f"transformer.{i}." for i in range(depth)):
        layers = {
            "pre_norm_mha.0": (width,),
            "pre_norm_mha.1.qkv_proj": (3 * width, width),
            f"pre_norm_mha.1.{out_proj}": (width, width),
            "pre_norm_ffn.0": (width,),
            "pre_norm_ffn.1": (4 * width, width),
            "pre_norm_ffn.4": (width, 4 * width),
        }
        for name, shape in layers.items():
            shapes |= {f"{block}{name}.weight": shape, f"{block}{name}.bias": shape[:1]}
    shapes |= {"post_transformer_norm.weight": (width,), "post_transformer_norm.bias": (width,)}
    return shapes


def augmentor_shapes() -> Shapes:
    return {
        f"neural_augmentor.{name}.{end}": ()
        for name in ("brightness", "contrast", "noise")
        for end in ("_low", "_high")
    }


def checkpoint_shapes(
    task: str, width: int, depth: int, num_classes: int = 10, **options
) -> Shapes:
    """Shapes of a whole checkpoint."""
    prefix = PREFIXES[task]
    dense = task in ("segmentation", "detection")
    encoder = encoder_shapes(width, depth, class_token=not dense, **options) | augmentor_shapes()
    shapes = {prefix + name: shape for name, shape in encoder.items()}
    if task == "classification":
        shapes |= {"classifier.weight": (num_classes, width), "classifier.bias": (num_classes,)}
    elif task == "clip":
        shapes |= {"image_encoder.classifier.proj": (width, num_classes), "logit_scale": ()}
        shapes |= {
            "text_encoder.transformer.0.pre_norm_mha.0.weight": (8,),
            "text_encoder.projection_layer": (8, num_classes),
        }
    elif task == "segmentation":
        shapes |= {"seg_head.classifier.block.conv.weight": (num_classes, 512, 1, 1)}
    else:
        shapes |= {"model.roi_heads.box_predictor.cls_score.weight": (num_classes, 1024)}
        shapes |= {"model.backbone.encoder.simple_fpn.out_l3.block.conv.bias": (width // 2,)}
    return shapes


def checkpoint(
    task: str, width: int, depth: int, num_classes: int = 10, seed: int = 0, **options
) -> OrderedDict[str, Tensor]:
    """Random weights large enough that each one matters to the features."""
    draw = torch.Generator().manual_seed(seed)
    shapes = checkpoint_shapes(task, width, depth, num_classes, **options)
    return OrderedDict((name, _values(name, shape, draw)) for name, shape in shapes.items())


def _values(name: str, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(200_000)
    noise = torch.randn(shape, generator=draw)
    if name.endswith("running_var"):
        return 0.5 + noise.abs()
    if len(shape) == 1 and name.endswith("weight"):  # a norm's
        return 1 + noise / 5
    return noise / 5 if len(shape) < 2 else noise * min(0.3, (2 / max(shape[1:])) ** 0.5)


def features(
    weights: dict[str, Tensor], images: Tensor, prefix: str = "", out_proj: str = "out_proj_attn"
) -> Tensor:
    """[B, D] of images [B, 3, H, W] in [0, 1]: the normed class token, or the mean without one."""
    encoder = {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }
    x = three_convolutions(encoder, images).flatten(2).transpose(1, 2)
    # By linear interpolation along the row of tokens.
    positions = encoder["pos_embed.pos_embed.pos_embed"][0].transpose(1, 2)
    x = x + F.interpolate(positions, x.shape[1], mode="linear").transpose(1, 2)
    if "cls_token" in encoder:  # without a position
        x = torch.cat([encoder["cls_token"].expand(len(x), -1, -1), x], dim=1)
    for i in range(
        len({name.split(".")[1] for name in encoder if name.startswith("transformer.")})
    ):
        x = x + attention(encoder, f"transformer.{i}.pre_norm_mha", x, out_proj)
        x = x + feed_forward(encoder, f"transformer.{i}.pre_norm_ffn", x)
    x = layer_norm(encoder, "post_transformer_norm", x)
    return x[:, 0] if "cls_token" in encoder else x.mean(dim=1)


def three_convolutions(encoder: dict[str, Tensor], x: Tensor) -> Tensor:
    """Three convolutions; the first pads by one, the last has a bias, no norm, no activation."""
    for number, stride, padding in ((0, 4, 1), (1, 2, 0)):
        name = f"patch_emb.{number}.block"
        x = F.conv2d(x, encoder[f"{name}.conv.weight"], stride=stride, padding=padding)
        norm = ("running_mean", "running_var", "weight", "bias")
        x = F.gelu(F.batch_norm(x, *(encoder[f"{name}.norm.{what}"] for what in norm), eps=1e-5))
    return F.conv2d(
        x,
        encoder["patch_emb.2.block.conv.weight"],
        encoder["patch_emb.2.block.conv.bias"],
        stride=2,
    )


def attention(encoder: dict[str, Tensor], name: str, x: Tensor, out_proj: str) -> Tensor:
    """Rows of qkv_proj are all of q, then of k, then of v, each head's next to each other."""
    batch, count, width = x.shape
    qkv = linear(encoder, f"{name}.1.qkv_proj", layer_norm(encoder, f"{name}.0", x))
    query, key, value = (
        part.reshape(batch, count, -1, HEAD_DIM).transpose(1, 2)
        for part in qkv.split(width, dim=-1)
    )
    mixed = F.scaled_dot_product_attention(query, key, value)
    mixed = mixed.transpose(1, 2).reshape(batch, count, width)
    return linear(encoder, f"{name}.1.{out_proj}", mixed)


def feed_forward(encoder: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    hidden = F.gelu(linear(encoder, f"{name}.1", layer_norm(encoder, f"{name}.0", x)))
    return linear(encoder, f"{name}.4", hidden)


def linear(encoder: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, encoder[f"{name}.weight"], encoder[f"{name}.bias"])


def layer_norm(encoder: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], encoder[f"{name}.weight"], encoder[f"{name}.bias"], 1e-6)
