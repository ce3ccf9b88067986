"""Every method by name, on any encoder, with batches made up for it: what the cost benches time."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from baselines.methods import BASELINES, Baseline
from baselines.openclip import END, START, TextTower, text_tower
from catlip.data.loader import Batch, RaggedLabels
from catlip.encoder import ImageEncoder, build_encoder
from catlip.objective import Categorical

LABELS_PER_CAPTION = 3


def build_catlip(encoder: ImageEncoder, text: TextTower, num_classes: int) -> nn.Module:
    """CatLIP over `num_classes` equally frequent classes."""
    return Categorical(encoder, torch.full((num_classes,), LABELS_PER_CAPTION / num_classes))


def build_baseline(objective: Baseline, encoder: ImageEncoder, text: TextTower, num_classes: int) -> nn.Module:
    """Any of the others."""
    return objective(encoder, text)


METHODS: dict[str, Callable[[ImageEncoder, TextTower, int], nn.Module]] = {
    "catlip": build_catlip,
    **{name: partial(build_baseline, objective) for name, objective in BASELINES.items()},
}


def build(method: str, model: str, resolution: int, num_classes: int, seed: int) -> nn.Module:
    """The objective `method` on the image encoder `model`; the same seed gives every method the same encoder weights."""
    torch.manual_seed(seed)
    return METHODS[method](build_encoder(model, resolution), text_tower(model), num_classes)


def synthetic_batch(batch_size: int, model: str, resolution: int, num_classes: int, seed: int) -> Batch:
    """Random images, labels and tokens, in the shapes and types that the loader makes for `model`."""
    context = text_tower(model).context
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (batch_size, 3, resolution, resolution), dtype=torch.uint8, generator=draw)
    labels = torch.stack([torch.randperm(num_classes, generator=draw)[:LABELS_PER_CAPTION] for _ in range(batch_size)])
    offsets = torch.arange(0, LABELS_PER_CAPTION * batch_size + 1, LABELS_PER_CAPTION)
    tokens = torch.randint(1, START, (batch_size, context), generator=draw)
    tokens[:, 0], tokens[:, -1] = START, END
    keys = [str(i) for i in range(batch_size)]
    return Batch(images, keys, RaggedLabels(labels.flatten(), offsets), tokens)
