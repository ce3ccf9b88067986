"""An encoder's last feature map, for segmentation and detection: one vector for each position,
without the class token. It may have half the stride (Section 5.2 segments at 8 pixels), attention
within windows (Li et al. 2022, ViTDet), and blocks that are skipped at random; none adds weights.
"""

import torch
from timm.layers import DropPath
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from catlip.cli import InputError
from catlip.encoder import unit_range
from catlip.encoders.load import LoadedEncoder
from catlip.encoders.preprocess import Normalised
from catlip.objective import Objective
from catlip.training.schedule import layer_decay_scales

GLOBAL_BLOCKS = 4  # as in ViTDet: spread evenly, including the last block


class FeatureMap(nn.Module):
    """The last feature map of an encoder, whose weights it uses and trains: [B, 3, H, W] uint8, or
    float in [0, 1], with sides in whole patches, to [B, D, H / stride, W / stride].

    Args:
        output_stride: pixels from one feature to the next; 0 for the encoder's own.
        window: side in tokens of attention windows in all but GLOBAL_BLOCKS blocks; 0 for none.
        drop_path: probability that the last block is skipped for an image in training; it rises
            linearly from 0 at the first.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: LoadedEncoder,
        output_stride: int = 0,
        window: int = 0,
        drop_path: float = 0.0,
    ):
        super().__init__()
        mean, std = encoder.preprocess.mean, encoder.preprocess.std
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self.vit = vision_transformer(encoder)
        self.vit.requires_grad_(True)
        _drop_class_token(self.vit)
        self.output_stride = _set_stride(self.vit, output_stride)
        rates = torch.linspace(0, drop_path, self.depth, device="cpu").tolist()
        for block, rate in zip(self.vit.blocks, rates, strict=True):
            if rate:
                block.drop_path1, block.drop_path2 = DropPath(rate), DropPath(rate)
        # The last block of each of GLOBAL_BLOCKS equal parts of the blocks.
        parts = range(1, GLOBAL_BLOCKS + 1)
        everywhere = {self.depth * part // GLOBAL_BLOCKS - 1 for part in parts}
        self.windows = [0 if number in everywhere else window for number in range(self.depth)]

    @property
    def depth(self) -> int:
        return len(self.vit.blocks)

    @property
    def num_features(self) -> int:
        return int(self.vit.num_features)

    def forward(self, images: Tensor) -> Tensor:
        vit = self.vit
        grid = vit.patch_embed((unit_range(images) - self.mean) / self.std)
        batch, height, width = grid.shape[:3]
        tokens = vit.norm_pre(vit._pos_embed(grid))
        for block, window in zip(vit.blocks, self.windows, strict=True):
            if window:
                tokens = _within_windows(block, tokens, height, width=width, side=window)
            else:
                tokens = block(tokens)
        tokens = vit.fc_norm(vit.norm(tokens))  # one of the two is the identity
        return tokens.transpose(1, 2).reshape(batch, -1, height, width)


class OnFeatureMap(Objective):
    """A model of another library, trained on the feature map that its module `features_at` is."""

    features_at: str
    layer_decay: float
    progress = 0.0  # the fraction of the steps that are done

    def set_progress(self, fraction: float) -> None:
        self.progress = fraction

    def lr_scale(self, name: str) -> float:
        """As in the release, RangeAugment learns as slowly as the stem."""
        features = self.get_submodule(self.features_at)
        scales = layer_decay_scales(features, self.layer_decay, f"{self.features_at}.")
        return min(scales.values()) if name.startswith("range_augment.") else scales.get(name, 1.0)


def vision_transformer(encoder: LoadedEncoder) -> VisionTransformer:
    module = encoder.module.encoder if isinstance(encoder.module, Normalised) else encoder.module
    if not isinstance(module, VisionTransformer) or not encoder.any_size:
        raise InputError(
            f"{encoder.method} has no feature map: give a run of this project, released:..., or a "
            "plain ViT of timm"
        )
    return module


def _drop_class_token(vit: VisionTransformer) -> None:
    """Remove the class token and its position, as the release does for dense tasks."""
    if vit.pos_embed is not None and not vit.no_embed_class:
        vit.pos_embed = nn.Parameter(vit.pos_embed.detach()[:, vit.num_prefix_tokens :].clone())
    vit.cls_token = vit.reg_token = None
    vit.num_prefix_tokens = vit.num_reg_tokens = 0


def _set_stride(vit: VisionTransformer, wanted: int) -> int:
    """The stride: the patch, or half of it, for which the first convolution's is halved."""
    patch = int(vit.patch_embed.patch_size[0])
    if wanted in (0, patch):
        return patch
    if 2 * wanted != patch:
        raise InputError(f"output stride {wanted} is neither the patch, {patch} pixels, nor half")
    first = next(module for module in vit.patch_embed.modules() if isinstance(module, nn.Conv2d))
    stride, kernel = first.stride[0], first.kernel_size[0]
    first.stride = (stride // 2, stride // 2)
    if kernel == patch:  # patches now overlap; without padding the map lacks a row and a column
        first.padding = (patch // 4, patch // 4)
    return wanted


def _within_windows(block: nn.Module, tokens: Tensor, height: int, width: int, side: int) -> Tensor:
    """Apply a block to each window of a map [B, H W, D], padded with zeros to whole windows."""
    from detectron2.modeling.backbone.utils import window_partition, window_unpartition

    windows, padded = window_partition(tokens.unflatten(1, (height, width)), side)
    changed = block(windows.flatten(1, 2)).view_as(windows)
    whole: Tensor = window_unpartition(changed, side, padded, (height, width))
    return whole.flatten(1, 2)
