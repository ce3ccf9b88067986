"""What memory a step holds, from shapes alone: parameters and their state, what is kept between its
forward and its backward pass, and its peak; and which batch fits on a device.

Per token of width d, a transformer block keeps the inputs of its two norms (8 d bytes: the residual
stream is float32, under autocast too) and 14 d numbers in the dtype of matrix products: one d
before and three after the query, key and value product, one before the projection, one before the
MLP, and four before and four after its GELU. Fused attention adds one float32 per head and token;
naive attention keeps a row of the attention matrix. That is 36 d bytes in bf16 and 64 d in fp32.
(OpenCLIP's own image tower adds its positions in bf16, so its residual stream is bf16 too: 32 d.)

Under autocast the 16-bit copy of each weight of a matrix product is kept as well, whatever the
batch. Checkpointing keeps the 4 d bytes of each block's input. Less than 1 % is left out:
statistics of norms, numbers of tokens and labels, copies of masks.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from bench.arithmetic.devices import USABLE
from bench.arithmetic.flops import (
    MLP_RATIO,
    objective_of,
    product_bytes,
    stem_products,
    step_shape,
    tokens_of,
)
from bench.measuring.factors import CPU_BATCH, Factors, is_user_encoder
from bench.memory.tensors import TOWERS
from catlip.architectures import Architecture
from catlip.costs import FLOAT32, TextTower
from catlip.encoder import ENCODERS, conv_width, hybrid_widths
from catlip.training.distributed import all_gather_objects
from catlip.training.parallel import AUTOCAST, is_emulated

INT64 = 8  # bytes
# In the dtype of matrix products, per token and unit of width.
BLOCK_NUMBERS = 14
# Numbers that the text tower keeps in addition on a GPU, where torch's attention makes its result
# contiguous.
ATTENTION_COPY = 1
AUGMENTED_COPIES = 5  # of the float32 pixels, which a step keeps for RangeAugment; as measured
MAX_IMAGES = 256  # in the batch of a bench whose user gives no size


def parameters(factors: Factors) -> dict[str, int]:
    """How many parameters, by part; the head is a classifier, or image projection and scale."""
    counts = {"image_encoder": 0, "text_tower": 0, "head": 0}
    for name, parameter in objective_of(factors).named_parameters():
        counts[TOWERS.get(name.split(".")[0], "head")] += parameter.numel()
    return counts


def state_bytes(factors: Factors) -> dict[str, int]:
    """What a process holds between steps, unsharded, as float32; the average holds the persistent
    ones of the buffers, which are masks and running statistics.
    """
    objective = objective_of(factors)
    one = FLOAT32 * sum(parameters(factors).values())
    return {
        "parameters": one,
        "gradients": one,
        "optimizer": 2 * one,
        "average": sum(tensor.nbytes for tensor in objective.state_dict().values()),
        "buffers": sum(tensor.nbytes for tensor in objective.buffers()),
    }


def activation_bytes(
    factors: Factors, world_size: int = 1, device_type: str = "cuda"
) -> dict[str, float]:
    """Bytes by part that autograd keeps on one device, without batch and parameters; `logits` are
    heads, embeddings (a contrastive loss's of all devices), logits and targets.
    """
    objective, shape = objective_of(factors), ENCODERS[factors.model]
    heads = objective.kept_bytes(step_shape(factors, world_size, device_type))
    # In fp32 the class token is a view of all normalised tokens, which keeps them.
    wide = product_bytes(factors)
    views = wide == FLOAT32 and shape.pool == "token"
    features = wide * factors.batch_size * shape.width * (tokens_of(factors) if views else 1)
    return {
        "image_encoder": image_bytes(factors, device_type),
        "text_tower": text_bytes(factors, objective.text, device_type) if objective.text else 0,
        "logits": features + heads,
    }


def peak_bytes(factors: Factors, world_size: int = 1, device_type: str = "cuda") -> float:
    """The most bytes that one process holds in a whole step, state and batch included, without the
    kernels' own work space.

    Parameters, optimizer state and averaged weights stay. Gradients come as activations go, so the
    greatest of four moments counts: when the loss is computed; when the head has its gradient and
    the last tower begins (for a moment, the gradient of the logits is still there, and under
    autocast the head's gradient in 16 bits too); when the image encoder begins; and at the
    encoder's first block, with all gradients made.
    """
    shape, objective = ENCODERS[factors.model], objective_of(factors)
    step, batch = step_shape(factors, world_size, device_type), factors.batch_size
    kept, state = activation_bytes(factors, world_size, device_type), state_bytes(factors)
    numbers = parameters(factors)
    gradients = {part: FLOAT32 * number for part, number in numbers.items()}
    copies = step.copies_bytes(block_weights(shape.width))
    tokens = tokens_of(factors)
    block = copies + batch * block_bytes(factors, tokens, shape, device_type)
    again, cached = (block, shape.depth * copies) if factors.checkpointing else (0, 0)

    def working(tokens: int, width: int, naive_heads: int = 0) -> int:
        """Gradients in the middle of a block: of the residual stream, and of its largest part."""
        hidden = max(MLP_RATIO * width, 2 * naive_heads * tokens)
        return batch * tokens * (FLOAT32 * width + product_bytes(factors) * hidden)

    image_work = working(tokens, shape.width, shape.heads if factors.attention == "naive" else 0)
    text_work = working(text.context, text.width) if (text := objective.text) else 0
    moments = (
        # Autocast drops its copies after the loss.
        sum(kept.values()) + cached + objective.loss_bytes(step),
        kept["image_encoder"]
        + kept["text_tower"]
        + gradients["head"]
        + max(text_work, step.copies_bytes(numbers["head"]), kept["logits"]),
        kept["image_encoder"] + gradients["text_tower"] + gradients["head"] + again + image_work,
        sum(gradients.values()) + block + image_work,
    )
    pixels = 3 * batch * factors.resolution**2
    stays = state["parameters"] + state["buffers"] + state["optimizer"] + state["average"]
    augmented = factors.range_augment * AUGMENTED_COPIES * FLOAT32 * pixels
    return stays + pixels + augmented + max(moments)


def block_bytes(
    factors: Factors, tokens: int, shape: Architecture | TextTower, device_type: str
) -> int:
    """Bytes kept of one sample in one block."""
    wide = product_bytes(factors)
    if factors.attention == "sdpa" or isinstance(shape, TextTower):
        row = FLOAT32  # the logarithm of the softmax's sum
    elif device_type == "cuda" and factors.precision in AUTOCAST:
        # Autocast computes the softmax in float32 there, and the product needs it in 16 bits.
        row = tokens * (FLOAT32 + wide)
    else:
        row = tokens * wide
    numbers = (2 * FLOAT32 + BLOCK_NUMBERS * wide) * shape.width
    return tokens * (numbers + row * shape.heads)


def image_bytes(factors: Factors, device_type: str) -> int:
    """Bytes kept in the image encoder, for the whole batch."""
    shape = ENCODERS[factors.model]
    residual = FLOAT32 * tokens_of(factors) * shape.width
    stem = stem_products(factors)
    one, copied = residual, sum(product.inner * product.columns for product in stem)
    if not factors.checkpointing:
        one = block_bytes(factors, tokens_of(factors), shape, device_type)
        copied += shape.depth * block_weights(shape.width)
    # The input of the final norm; after pooling it has one row.
    last = residual if shape.pool == "token" else FLOAT32 * shape.width
    per_image = product_bytes(factors) * stem_numbers(factors) + shape.depth * one + last
    if factors.patch_drop_rate:  # timm's gather keeps all tokens and the indices of those it takes
        every = tokens_of(replace(factors, patch_drop_rate=0.0))
        per_image += every * (FLOAT32 * shape.width + INT64)
    return factors.batch_size * per_image + step_shape(factors).copies_bytes(copied)


def text_bytes(factors: Factors, text: TextTower, device_type: str) -> int:
    """Bytes kept in the text tower, for the whole batch; it is not checkpointed."""
    one = block_bytes(factors, text.context, text, device_type)
    if device_type == "cuda":
        one += ATTENTION_COPY * product_bytes(factors) * text.context * text.width
    # A bag of words keeps the mean of its tokens, and the result of its norm.
    around = text.context if text.depth else 2
    per_caption = text.depth * one + FLOAT32 * around * text.width
    copied = text.depth * block_weights(text.width) + text.width * text.joint
    return factors.batch_size * per_caption + step_shape(factors).copies_bytes(copied)


def stem_numbers(factors: Factors) -> int:
    """Numbers that a stem keeps of one image: pixels, and around each convolution's norm."""
    shape, side = ENCODERS[factors.model], factors.resolution
    pixels = 3 * side**2
    if shape.stem == "patchify":
        return pixels
    if shape.stem == "conv":  # before the norm, before and after the GELU
        return pixels + 3 * conv_width(shape.width) * ((side // 4) ** 2 + (side // 8) ** 2)
    # Before the norm and after the ReLU. In a residual block of two convolutions and a shortcut,
    # three before norms and two after ReLUs.
    first, *blocks = hybrid_widths(shape.width)
    strides = (4, 8, 16)
    block_numbers = sum(w * (side // s) ** 2 for w, s in zip(blocks, strides, strict=True))
    return pixels + 2 * first * (side // 2) ** 2 + 5 * block_numbers


def block_weights(width: int) -> int:
    return (4 + 2 * MLP_RATIO) * width**2


def device_bytes(factors: Factors, devices: int) -> float:
    """The most bytes that one of `devices` devices holds in a whole step. With FSDP it keeps a part
    of parameters and state; what it gathers for a block is not counted.
    """
    peak = peak_bytes(factors, devices)
    if factors.parallel == "ddp":
        return peak
    state = state_bytes(factors)
    sharded = state["parameters"] + state["optimizer"] + state["average"]
    return peak - sharded * (1 - 1 / devices)


def interleaved_bytes(steps: Sequence[Factors]) -> float:
    """The most bytes held while these steps take turns: the state of all, and one's work."""
    states = [sum(state_bytes(step).values()) for step in steps]
    working = max(peak_bytes(step) - state for step, state in zip(steps, states, strict=True))
    return sum(states) + max(0.0, working)


def images_that_fit(steps: Sequence[Factors], memory_bytes: float, most: int = MAX_IMAGES) -> int:
    """The batch with which these steps can take turns: `most`, halved until they fit."""
    images = most
    while images > 1 and (
        interleaved_bytes([replace(step, batch_size=images) for step in steps])
        > USABLE * memory_bytes
    ):
        images //= 2
    return images


def default_batch(steps: Sequence[Factors], device: torch.device) -> int:
    """The batch size of these steps, which take turns, if the user gives none."""
    if device.type == "cpu":
        return CPU_BATCH
    if any(is_user_encoder(step.model) for step in steps):  # what fits cannot be predicted
        return MAX_IMAGES
    return images_that_fit(steps, free_bytes(device))


def default_precision(device: torch.device) -> str:
    if device.type == "cpu":
        return "fp32"
    return "fp16" if is_emulated(device, "bf16") else "bf16"


def free_bytes(device: torch.device) -> int:
    """Free memory of this GPU, or of the rank that has the least; all ranks call it."""
    return min(all_gather_objects(torch.cuda.mem_get_info(device)[0]))
