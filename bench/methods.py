"""Every method by name, on any encoder, with batches made up for it: what the cost benches time."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.methods import BASELINES, Baseline
from baselines.openclip import END, START, TextTower, text_tower
from catlip.data.loader import Batch, RaggedLabels
from catlip.encoder import ImageEncoder, build_encoder
from catlip.objective import Categorical

LABELS_PER_CAPTION = 3
CHUNK_CLASSES = 4_096


def build_catlip(
    objective: type[Categorical], chunk: int, encoder: ImageEncoder, _: TextTower, num_classes: int
) -> nn.Module:
    """CatLIP over `num_classes` equally frequent classes, `chunk` of them at a time."""
    return objective(encoder, torch.full((num_classes,), LABELS_PER_CAPTION / num_classes), chunk)


class DenseCategorical(Categorical):
    """CatLIP with a dense [B, V] target, as the reference release computes it; the loss is the
    same.
    """

    def forward(self, batch: Batch) -> Tensor:
        """Nats per image."""
        assert batch.labels is not None, "the loader makes what `needs` names"
        logits = self.classifier(self.image_encoder(batch.images)).float()
        target = torch.zeros_like(logits)
        target[batch.labels.rows(), batch.labels.values] = 1
        return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(logits)


def build_baseline(
    objective: Baseline, encoder: ImageEncoder, text: TextTower, num_classes: int
) -> nn.Module:
    """Any of the others."""
    return objective(encoder, text)


METHODS: dict[str, Callable[[ImageEncoder, TextTower, int], nn.Module]] = {
    "catlip": partial(build_catlip, Categorical, 0),
    "catlip_chunked": partial(build_catlip, Categorical, CHUNK_CLASSES),
    "catlip_dense": partial(build_catlip, DenseCategorical, 0),
    **{name: partial(build_baseline, objective) for name, objective in BASELINES.items()},
}


def build(
    method: str, model: str, resolution: int, num_classes: int, seed: int, **encoder: Any
) -> nn.Module:
    """The objective `method` on the image encoder `model`; the same seed gives every method the
    same encoder weights.

    Args:
        encoder: options of `catlip.encoder.build_encoder`.
    """
    torch.manual_seed(seed)
    return METHODS[method](
        build_encoder(model, resolution, **encoder), text_tower(model), num_classes
    )


def synthetic_batch(
    batch_size: int, model: str, resolution: int, num_classes: int, seed: int
) -> Batch:
    """Random images, labels and tokens, in the shapes and types that the loader makes for
    `model`.
    """
    context = text_tower(model).context
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(
        256, (batch_size, 3, resolution, resolution), dtype=torch.uint8, generator=draw
    )
    labels = torch.stack(
        [
            torch.randperm(num_classes, generator=draw)[:LABELS_PER_CAPTION]
            for _ in range(batch_size)
        ]
    )
    offsets = torch.arange(0, LABELS_PER_CAPTION * batch_size + 1, LABELS_PER_CAPTION)
    tokens = torch.randint(1, START, (batch_size, context), generator=draw)
    tokens[:, 0], tokens[:, -1] = START, END
    keys = [str(i) for i in range(batch_size)]
    return Batch(images, keys, RaggedLabels(labels.flatten(), offsets), tokens)
