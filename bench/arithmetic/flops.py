"""How many floating-point operations a training step takes, from the shapes of its matrix products.

An operation is a multiply or an add. The backward pass of a product takes two more products of its
size, one for the gradient of each operand, but pixels need no gradient. So a step is three forward
passes less one of the first convolution. What is not a product (norms, GELU, softmax, the
optimizer) is left out, as in every published count; so is the gradient of the pixels that
RangeAugment needs, 0.2 % of a step of ViT-B/16.

At 224 pixels, 65,536 pairs and 256 of them a device, CLIP takes 1.173 times the operations of
CatLIP with ViT-B/16, 1.109 times with L and 1.053 times with H. Operations do not explain the
paper's 2.7 and 2.78 (Fig. 1c).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import torch

from bench.measuring import methods
from bench.measuring.factors import Factors
from bench.measuring.methods import caption_lengths
from bench.measuring.user_encoder import UserEncoder
from catlip.costs import Matmul, StepShape, TextTower
from catlip.data.sampler import ImageSize
from catlip.encoder import ENCODERS, conv_width, hybrid_widths
from catlip.objective import Objective
from catlip.training.parallel import AUTOCAST

MLP_RATIO = 4  # both towers


def step_flops(factors: Factors, world_size: int = 1, recompute: bool = False) -> int:
    """FLOPs of one of `world_size` devices in one training step, without the optimizer; with
    `recompute`, also what the backward pass computes again, which MFU leaves out.
    """
    objective = objective_of(factors)
    if isinstance(objective.image_encoder, UserEncoder):
        flops = objective.image_encoder.training_flops * factors.batch_size
    else:
        flops = training_flops(image_products(factors)) * factors.batch_size
    for text, captions in text_shapes(factors).items():
        flops += training_flops(text_products(text)) * captions
    flops += training_flops(objective.matmuls(step_shape(factors, world_size)))
    return flops + (recomputed_flops(factors) if recompute else 0)


def recomputed_flops(factors: Factors) -> int:
    """FLOPs of what the backward pass of one device computes again.

    Fused attention computes the scores once more. Checkpointing computes a block once more up to
    its last product, whose result is not needed: 3.67 forward passes of a block and not 4.
    """
    shape = ENCODERS[factors.model]
    block = block_products(tokens_of(factors), shape.width, shape.heads)
    again = shape.depth * block["scores"].flops if factors.attention == "sdpa" else 0
    if factors.checkpointing:
        again += shape.depth * (forward_flops(block.values()) - block["mlp_out"].flops)
    again *= factors.batch_size
    for text, captions in text_shapes(factors).items():
        # Attention is always fused here, and blocks are not checkpointed.
        scores = block_products(text.context, text.width, text.heads)["scores"]
        again += text.depth * scores.flops * captions
    return again


def text_shapes(factors: Factors) -> dict[TextTower, int]:
    """The text tower as captions meet it, and how many: without padding, its context is a caption's
    length. Empty if the method has no text tower.
    """
    text = objective_of(factors).text
    if text is None:
        return {}
    tokens = factors.caption_tokens if factors.packed_captions else 0
    lengths = Counter(caption_lengths(factors.batch_size, text.context, tokens))
    return {replace(text, context=length): captions for length, captions in lengths.items()}


def mean_flops_per_sample(
    factors: Factors, sizes: Sequence[ImageSize], world_size: int = 1, recompute: bool = False
) -> float:
    """FLOPs per sample with a multi-scale sampler that draws a step's image size uniformly from
    `sizes` (`catlip.recipes.Recipe.sizes()`): a step at each size, divided by the samples of all.
    """
    steps = [replace(factors, resolution=size.resolution, batch_size=size.batch) for size in sizes]
    flops = sum(step_flops(step, world_size, recompute) for step in steps)
    return flops / sum(size.batch for size in sizes)


def image_flops(factors: Factors) -> int:
    """FLOPs of one image's forward pass through the encoder. ViT-B/16 at 224 pixels: 35.1e9."""
    return forward_flops(image_products(factors))


def text_flops(text: TextTower) -> int:
    """FLOPs of one caption's forward pass through the text tower. With ViT-B/16: 6.0e9."""
    return forward_flops(text_products(text))


def forward_flops(products: Iterable[Matmul]) -> int:
    return sum(product.flops for product in products)


def training_flops(products: Iterable[Matmul]) -> int:
    return sum(product.flops * (1 + product.trained_operands) for product in products)


def tokens_of(factors: Factors) -> int:
    """Tokens of an image that blocks see, the class token included where the encoder has one."""
    shape = ENCODERS[factors.model]
    patches = (factors.resolution // shape.patch) ** 2
    # timm's rounding
    return max(1, int(patches * (1 - factors.patch_drop_rate))) + (shape.pool == "token")


def stem_products(factors: Factors) -> list[Matmul]:
    """The products of one image, from pixels to patch embeddings."""
    shape, resolution = ENCODERS[factors.model], factors.resolution
    width, last = shape.width, (resolution // shape.patch) ** 2
    if shape.stem == "patchify":
        return [Matmul(last, 3 * shape.patch**2, width, trained_operands=1)]
    if shape.stem == "conv":
        hidden = conv_width(width)
        wide = (resolution // 4) ** 2, (resolution // 8) ** 2
        return [
            Matmul(wide[0], 3 * 16, hidden, trained_operands=1),
            Matmul(wide[1], 4 * hidden, hidden),
            Matmul(last, 4 * hidden, width),
        ]
    widths = hybrid_widths(width)
    products = [Matmul((resolution // 2) ** 2, 3 * 9, widths[0], trained_operands=1)]
    for channels, wider, stride in zip(widths, widths[1:], (4, 8, 16), strict=False):
        pixels = (resolution // stride) ** 2
        products += [Matmul(pixels, inner, wider) for inner in (9 * channels, 9 * wider, channels)]
    return products


def block_products(tokens: int, width: int, heads: int) -> dict[str, Matmul]:
    per_head = width // heads
    return {
        "qkv": Matmul(tokens, width, 3 * width),
        "scores": Matmul(tokens, per_head, tokens, count=heads),
        "values": Matmul(tokens, tokens, per_head, count=heads),
        "projection": Matmul(tokens, width, width),
        "mlp_in": Matmul(tokens, width, MLP_RATIO * width),
        "mlp_out": Matmul(tokens, MLP_RATIO * width, width),
    }


def image_products(factors: Factors) -> list[Matmul]:
    shape = ENCODERS[factors.model]
    block = block_products(tokens_of(factors), shape.width, shape.heads)
    return stem_products(factors) + shape.depth * list(block.values())


def text_products(text: TextTower) -> list[Matmul]:
    """The products of one caption, padded to the context; only one token is projected."""
    block = block_products(text.context, text.width, text.heads)
    return [*text.depth * list(block.values()), Matmul(1, text.width, text.joint)]


def objective_of(factors: Factors) -> Objective:
    """The objective with shapes but without memory, on torch's meta device; it is built once."""
    shape = Factors(
        factors.method,
        factors.model,
        factors.resolution,
        num_classes=factors.num_classes,
        text_context=factors.text_context,
        tokens_in_use=factors.tokens_in_use,
    )
    return _build_on_meta(shape)


@cache
def _build_on_meta(factors: Factors) -> Objective:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return methods.build(factors).to("meta")  # a user's encoder is opened on the CPU


def step_shape(factors: Factors, world_size: int = 1, device_type: str = "cuda") -> StepShape:
    return StepShape(
        factors.batch_size, world_size, product_bytes(factors), device_type=device_type
    )


def product_bytes(factors: Factors) -> int:
    """Bytes of one number in the dtype of matrix products."""
    return AUTOCAST.get(factors.precision, torch.float32).itemsize
