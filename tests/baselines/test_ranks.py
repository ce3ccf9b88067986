"""However pairs are spread over ranks and micro-batches, the gradient is one large batch's."""

import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from baselines.methods import BASELINES
from baselines.openclip import START, TEXT_TOWERS, TextTower
from bench.measuring import methods
from bench.measuring.factors import Factors
from bench.step_time.result import PACKED
from catlip.data.loader import Batch, RaggedLabels
from catlip.encoder import ImageEncoder
from catlip.objective import Objective
from catlip.range_augment import AugmentedObjective, RangeAugment
from catlip.recipes.pretrain import STARTER
from catlip.training.distributed import Rank, all_gather_objects, init_distributed
from catlip.training.parallel import Parallel, distribute, gather_tensor, mean_over_ranks
from catlip.training.trainer import Trainer

PAIRS, NUM_CLASSES, MICRO_BATCHES = 12, 10, 2
TEXT = TextTower(width=48, depth=2, heads=2, joint=32, context=16)
CASES: list[tuple[str, Parallel, int]] = [
    *((method, "ddp", 1) for method in BASELINES),
    *((method, "ddp", 2) for method in ("clip", "clip_catlip", "siglip")),
    ("clip", "fsdp", 2),
    ("clip_catlip", "fsdp", 2),
    ("superclass", "fsdp", 1),
    *((f"clip{PACKED}", "ddp", count) for count in (1, 2)),
    (f"clip{PACKED}", "fsdp", 2),
]


@pytest.fixture(scope="module")
def spread(program, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """What one to three ranks computed: two of a ring exchange once, three both ways."""
    folders = {ranks: tmp_path_factory.mktemp(f"{ranks}-ranks") for ranks in (1, 2, 3)}
    for world_size, folder in folders.items():
        done = program(__file__, folder, ranks=world_size)
        assert done.returncode == 0, done.stderr
    return folders


@pytest.mark.parametrize(("method", "parallel", "micro_batches"), CASES)
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_and_micro_batches_give_the_loss_and_gradient_of_one_batch(
    spread, world_size, method, parallel, micro_batches
) -> None:
    one_batch = load_file(spread[1] / f"{method.removesuffix(PACKED)}-ddp-1.safetensors")
    name = f"{method}-{parallel}-{micro_batches}.safetensors"
    found = load_file(spread[world_size] / name)
    assert found.keys() == one_batch.keys()
    for name, value in one_batch.items():
        atol = 1e-5 * float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("method", methods.METHODS)
def test_ranks_and_micro_batches_augment_and_drop_alike(spread, method) -> None:
    one, two = (load_file(spread[ranks] / "features.safetensors")[method] for ranks in (1, 2))
    torch.testing.assert_close(one, two)
    first, second = one.chunk(2)  # of the same images
    assert not torch.isclose(first, second).all(1).any()


def build(method: str, **more: float) -> Objective:
    """A method on a ViT of two blocks, without batch norm, which sees only its rank."""
    torch.manual_seed(0)
    shape = {"img_size": 32, "patch_size": 16, "embed_dim": 48, "depth": 2, "num_heads": 2}
    encoder = ImageEncoder(**shape, num_classes=0, **more)
    base_rates = torch.full((NUM_CLASSES,), 0.3)
    with patch.dict(TEXT_TOWERS, small=TEXT):
        form = methods.METHODS[method.removesuffix(PACKED)]
        objective = form.build(encoder, "small", base_rates)
    if method.endswith(PACKED):
        objective.pack_captions()
    return objective


def pairs() -> Batch:
    """A fixed batch, of captions of 2 to 14 tokens that share words."""
    batch = methods.synthetic_batch(
        Factors("catlip", "vit_tiny16", 32, PAIRS, num_classes=NUM_CLASSES, caption_tokens=8.0),
        seed=0,
    )
    tokens = batch.tokens[:, : TEXT.context]
    return replace(batch, tokens=torch.where(tokens < START, tokens % 100, tokens))


def split(batch: Batch, count: int) -> list[Batch]:
    size, per_image = len(batch) // count, methods.LABELS_PER_CAPTION
    values, offsets = batch.labels.values.split(size * per_image), batch.labels.offsets[: size + 1]
    labels = [RaggedLabels(each, offsets) for each in values]
    lengths = [batch.lengths[i : i + size] for i in range(0, len(batch), size)]
    parts = zip(batch.images.split(size), labels, batch.tokens.split(size), lengths, strict=True)
    return [Batch(images, [""] * size, *captions) for images, *captions in parts]


def compute(rank: Rank, folder: Path) -> None:
    """Loss, gradients and buffers of every case, of this rank's pairs; rank 0 writes them."""
    torch.set_num_threads(1)
    for method, parallel, count in CASES:
        objective = build(method)
        replica = distribute(objective, rank, parallel, "fp32")
        # micro-batches first, then ranks: as the data path lays out a step
        micro_batches = split(pairs(), count)
        mine = [split(batch, rank.world_size)[rank.number] for batch in micro_batches]
        loss = replica(*mine)
        loss.backward()
        found = {"loss": mean_over_ranks(loss.detach()), **dict(objective.named_buffers())}
        found |= {
            name: gather_tensor(parameter.grad) for name, parameter in objective.named_parameters()
        }
        if rank.is_main:
            save_file(found, folder / f"{method}-{parallel}-{count}.safetensors")
    if rank.world_size <= MICRO_BATCHES:
        features = {method: features_of_step(method, rank) for method in methods.METHODS}
        save_file(features, folder / "features.safetensors")


def features_of_step(method: str, rank: Rank) -> Tensor:
    """Those of all ranks and micro-batches, each of the same images, with RangeAugment, dropped
    paths and dropped patches.
    """
    objective = build(method, drop_path_rate=0.5, patch_drop_rate=0.5)
    features = []
    objective.image_encoder.register_forward_hook(lambda *args: features.append(args[2].detach()))
    augmented = AugmentedObjective(objective, RangeAugment())
    count = MICRO_BATCHES // rank.world_size
    trainer = Trainer(augmented, STARTER, 10, rank=rank, accumulation=count)
    trainer.train_step(iter([pairs() for _ in range(count)]))
    mine = torch.cat(features[:count])  # without those that the backward pass computes again
    return torch.cat(all_gather_objects(mine))


if __name__ == "__main__":
    compute(init_distributed("cpu"), Path(sys.argv[1]))
