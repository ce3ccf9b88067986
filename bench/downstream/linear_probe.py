"""Linear probe: how well do a frozen encoder's features separate classes that it was never trained on?  (Section 4)

Features are computed once, standardised by the training set's mean and deviation, and a linear classifier is trained on
them: no augmentation, so that a probe takes seconds. The paper's own probe (Table 7a) augments and runs the encoder in
every epoch; the two do not give the same number.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from bench.downstream.datasets import Images, Split, Task, load_tasks
from bench.downstream.encoders import LoadedEncoder, load_encoder
from catlip.cli import run
from catlip.recipes import TRANSFER
from catlip.record import Record
from catlip.training.distributed import find_place

FEATURE_BATCH = 256


@dataclass(frozen=True)
class LinearProbe:
    """Train a linear classifier on the frozen features of an encoder.

    python -m bench.downstream.linear_probe --encoder runs/starter/pretrain/catlip-seed0 --data starter:data/starter
    python -m bench.downstream.linear_probe --encoder random:hybrid_tiny@48 --data starter:data/starter
    python -m bench.downstream.linear_probe --recipe table_7a --encoder runs/cc3m/pretrain/catlip-seed0 --data imagenet:DIR
    """

    encoder: str
    """A run's folder, FOLDER:raw, FILE.safetensors, released:vit_b16[@512][:FILE], timm:NAME, openclip:NAME/TAG,
    random:NAME@RESOLUTION, random:timm/NAME; each brings its own preprocessing."""
    data: str
    """starter:DIR, or imagenet:DIR, places365:DIR, folder:DIR with train/ and val/."""
    out: Path = Path("runs/bench/linear_probe/probe.json")
    """The record to write."""
    epochs: int = 100
    """Passes over the training features."""
    max_lr: float = 1e-2
    """AdamW's learning rate at the start; a cosine takes it to `min_lr`."""
    min_lr: float = 0.0
    """Learning rate at the end."""
    weight_decay: float = 0.0
    """Of the classifier; Table 7(a) has none."""
    batch_size: int = 256
    """Features per step."""
    seeds: int = 3
    """Classifiers trained on the same features; the mean is the result."""
    seed: int = 0
    """Seed of a random encoder, and the first of the classifiers'."""
    num_workers: int = 1
    """Processes that decode images."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    quiet: bool = False
    """No progress bar."""


_TABLE_7A = TRANSFER["linear_probe"]
PROBES = {
    "starter": LinearProbe(encoder=tyro.MISSING, data=tyro.MISSING),
    "table_7a": LinearProbe(
        encoder=tyro.MISSING,
        data=tyro.MISSING,
        epochs=_TABLE_7A["epochs"],
        max_lr=_TABLE_7A["max_lr"],
        min_lr=_TABLE_7A["min_lr"],
        weight_decay=_TABLE_7A["weight_decay"],
        batch_size=_TABLE_7A["micro_batch"],
    ),
}


def main(config: LinearProbe) -> None:
    """Probe, print, write the record."""
    device = find_place(config.device).device
    encoder = load_encoder(config.encoder, config.seed, device)
    with Record(config.out, kind="linear_probe", config=config) as record:
        record.metrics |= {"method": encoder.method, "pretrain_seed": encoder.pretrain_seed}
        record.notes.append(f"images: {encoder.preprocess}")
        for task in load_tasks(config.data):
            began = time.perf_counter()
            train, test = (extract(encoder, split, config) for split in (task.train, task.test))
            results = [probe(train, test, task, config, config.seed + i) for i in range(config.seeds)]
            top1, top5 = ([float(value) for value in column] for column in zip(*results, strict=True))
            record.samples |= {f"{task.name}_top1": top1, f"{task.name}_top5": top5}
            record.metrics |= {
                f"{task.name}_top1": float(np.mean(top1)),
                f"{task.name}_top5": float(np.mean(top5)),
                f"{task.name}_num_classes": len(task.class_names),
                f"{task.name}_num_train": len(task.train.labels),
                f"{task.name}_num_test": len(task.test.labels),
                f"{task.name}_seconds": time.perf_counter() - began,
            }
            print(f"{encoder.method:8} {task.name:10} top-1 {np.mean(top1):.3f}  top-5 {np.mean(top5):.3f}")
    print(f"wrote {record.path}")


@torch.inference_mode()
def extract(encoder: LoadedEncoder, split: Split, config: LinearProbe) -> Tensor:
    """[N, num_features] float32 features of a split, on the encoder's device."""
    device = next(encoder.module.parameters()).device
    loader = DataLoader(Images(split, encoder.preprocess), FEATURE_BATCH, num_workers=config.num_workers)
    return torch.cat([encoder.module(images.to(device)) for images in tqdm(loader, desc="features", disable=config.quiet)])


def probe(train: Tensor, test: Tensor, task: Task, config: LinearProbe, seed: int) -> tuple[float, float]:
    """Top-1 and top-5 accuracy on the test features, in [0, 1], of a linear classifier trained on the training features."""
    mean, deviation = train.mean(0), train.std(0) + 1e-6
    train, test = (train - mean) / deviation, (test - mean) / deviation
    labels = torch.from_numpy(task.train.labels).to(train.device)
    classifier = fit(train.clone(), labels, len(task.class_names), config, seed)
    ranked = classifier(test.clone()).topk(min(5, len(task.class_names))).indices
    right = ranked == torch.from_numpy(task.test.labels).to(test.device)[:, None]
    return right[:, 0].float().mean().item(), right.any(1).float().mean().item()


def fit(features: Tensor, labels: Tensor, num_classes: int, config: LinearProbe, seed: int) -> nn.Linear:
    """A linear classifier fitted by AdamW with a cosine schedule."""
    torch.manual_seed(seed)
    classifier = nn.Linear(features.shape[1], num_classes).to(features.device)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=config.max_lr, weight_decay=config.weight_decay)
    steps = config.epochs * -(-len(features) // config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, config.min_lr)
    for _ in range(config.epochs):
        for rows in torch.randperm(len(features)).to(features.device).split(config.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(classifier(features[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return classifier


if __name__ == "__main__":
    run(LinearProbe, main, PROBES)
