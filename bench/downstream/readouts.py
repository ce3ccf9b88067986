"""What an encoder knows before anything is trained on its features: k nearest neighbours, and
zero-shot classification.

CLIP classifies zero-shot by comparing an image with prompts that name the classes. CatLIP has no
text tower, but its classifier has a row for each noun of its vocabulary. The rows that Transfer
Init would copy are used as a classifier without training; a label without a row is never predicted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

from bench.downstream.classify.accuracy import Extractor, Features, hits
from bench.downstream.classify.datasets import Task, load_tasks
from bench.downstream.classify.heads import TransferOptions, has_classifier, transfer_head
from bench.downstream.classify.prompts import prompted_rows
from bench.downstream.encoders.load import LoadedEncoder, load_encoder
from bench.downstream.outputs import BY_NAME, DataSpelling, filled_in, is_written
from bench.downstream.probe.result import Readout as ReadoutResult
from bench.downstream.probe.result import TaskResult
from catlip.cli import InputError, run
from catlip.program.broken import MAX_BROKEN, BrokenImages, MaxBroken
from catlip.program.ranges import Count, Natural, Seed
from catlip.record import Record
from catlip.training.distributed import find_place

# Of a neighbour's vote; this and k = 20: Wu et al. 2018 and DINO (Caron et al. 2021).
TEMPERATURE = 0.07
TEST_BATCH = 1024


@dataclass(frozen=True)
class Readouts:
    """Classify by k nearest neighbours and, where the encoder allows it, zero-shot; nothing is
    trained.

    python -m bench.downstream.readouts --encoder runs/starter/pretrain/catlip-seed0 \\
        --data starter:data/starter

    python -m bench.downstream.readouts --encoder openclip:ViT-B-16/datacomp_xl_s13b_b90k \\
        --data imagenet:/data/imagenet

    Zero-shot classification works for a run of CatLIP, by the rows of its classifier, and for a run
    of CLIP or an OpenCLIP model, by prompts.
    """

    encoder: str
    """The encoder, spelt as for bench.downstream.linear_probe."""
    data: DataSpelling
    out: Path = Path("runs/bench/readout") / BY_NAME
    """The record to write."""
    neighbours: Count = 20
    """Number of nearest training images that vote, each with weight exp(cosine / 0.07)."""
    transfer: tyro.conf.OmitArgPrefixes[TransferOptions] = field(default_factory=TransferOptions)
    seed: Seed = 0
    """Seed of a random encoder."""
    num_workers: Natural = 1
    """Processes that decode images."""
    max_broken: MaxBroken = MAX_BROKEN
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    quiet: bool = False
    """No progress bar."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", filled_in(self.out, self.data, self.encoder))


def main(config: Readouts) -> None:
    """Read out, print, write the record."""
    device = find_place(config.device).device
    encoder = load_encoder(config.encoder, config.seed, device)
    if is_written(config.out, config, encoder.digest()):
        return
    with Record(config.out, kind=ReadoutResult, config=config) as record:
        record.notes.append(f"images: {encoder.preprocess}")
        broken = BrokenImages()
        tasks: dict[str, TaskResult] = {}
        features = Extractor(encoder.module, encoder.preprocess, config)
        for task in load_tasks(config.data):
            train, test = features(task.train), features(task.test)
            broken.add([*train.broken.images(), *test.broken.images()])
            result = _read_out(config, encoder, task, record=record, train=train, test=test)
            broken.note(record)
            tasks[task.name] = result
            is_zero_shot = any(one.zero_shot_top1 is not None for one in tasks.values())
            record.measured(
                ReadoutResult(
                    broken=broken.counts(),
                    method=encoder.method,
                    pretrain_seed=encoder.pretrain_seed,
                    encoder_digest=encoder.digest(),
                    zero_shot=way_of(encoder) if is_zero_shot else None,
                    tasks=tasks,
                )
            )
            print(f"{encoder.method:8} {task.name:10} {_line(result)}")
    print(f"wrote {record.path}")


def _read_out(
    config: Readouts,
    encoder: LoadedEncoder,
    task: Task,
    *,
    record: Record,
    train: Features,
    test: Features,
) -> TaskResult:
    scores = zero_shot(config, encoder, task, record=record)
    top1, top5 = neighbour_hits(train, test, task.num_classes, neighbours=config.neighbours)
    result = TaskResult(
        num_classes=task.num_classes, num_test=len(test), knn_top1=top1, knn_top5=top5
    )
    if scores is None:
        return result
    top1, top5 = hits(scores(test.values), test.labels).double().mean(0).tolist()
    return replace(result, zero_shot_top1=top1, zero_shot_top5=top5)


def _line(result: TaskResult) -> str:
    said = f"nearest neighbours {result.knn_top1:.3f}"
    if result.zero_shot_top1 is None:
        return said
    return f"{said}  zero-shot {result.zero_shot_top1:.3f}"


def way_of(encoder: LoadedEncoder) -> Literal["prompts", "classifier rows"]:
    """How an encoder classifies zero-shot, if it can."""
    return "classifier rows" if has_classifier(encoder) else "prompts"


@torch.inference_mode()
def neighbour_hits(
    train: Features, test: Features, num_classes: int, neighbours: int
) -> tuple[float, float]:
    """Top-1 and top-5 accuracy in [0, 1] of classification by k nearest neighbours.

    The training images of the highest cosine similarity vote, each with weight exp(cosine / 0.07).
    """
    known = F.normalize(train.values, dim=1)
    counts = torch.zeros(2, dtype=torch.int64, device=train.labels.device)
    batches = zip(test.values.split(TEST_BATCH), test.labels.split(TEST_BATCH), strict=True)
    for values, labels in batches:
        nearest = (F.normalize(values, dim=1) @ known.T).topk(min(neighbours, len(train)))
        votes = torch.zeros(len(values), num_classes, device=values.device)
        votes.scatter_add_(1, train.labels[nearest.indices], (nearest.values / TEMPERATURE).exp())
        counts += hits(votes.masked_fill(votes == 0, -torch.inf), labels).sum(0)
    top1, top5 = (counts / len(test)).tolist()
    return top1, top5


def zero_shot(
    config: Readouts, encoder: LoadedEncoder, task: Task, record: Record
) -> Callable[[Tensor], Tensor] | None:
    """A function from features [n, D] to scores [n, classes], without any training.

    None for an encoder that cannot classify zero-shot.
    """
    if has_classifier(encoder):
        try:
            head, origins = transfer_head(
                encoder, config.encoder, task.labels, options=config.transfer, seed=config.seed
            )
        except InputError as error:
            record.notes.append(f"{task.name} was not classified zero-shot: {error}")
            return None
        head.to(next(encoder.module.parameters()).device)
        never = [number for number, origin in enumerate(origins) if not origin.matched]
        record.samples[f"origins_{task.name}"] = [origin.row() for origin in origins]

        @torch.inference_mode()
        def by_rows(features: Tensor) -> Tensor:
            scores: Tensor = head(features)
            scores[:, never] = -torch.inf
            return scores

        return by_rows
    return prompted_rows(encoder, config.encoder, task)


if __name__ == "__main__":
    run(Readouts, main)
