"""Multi-label classification: which of COCO's categories are on an image?  (Section 5.1, Tables 3
and 7c)

The encoder and a linear classifier learn by binary cross-entropy, and are judged by the average
precision of each category: its mean over categories (macro, which the paper reports), of all
decisions together (micro), and over categories weighted by how frequent they are. Averages leave
out categories that no test image has, and count them.
"""

import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import tyro
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_average_precision

from bench.downstream.accuracy import extract
from bench.downstream.classification import Classification
from bench.downstream.coco import CocoSplit, coco_root, note_counts, read_coco
from bench.downstream.datasets import Split, name_labels
from bench.downstream.dense import Dense, leave_out, note_encoder
from bench.downstream.encoders import LoadedEncoder, load_encoder
from bench.downstream.fit import Run, fit, fitting
from bench.downstream.heads import Init, TransferOptions, random_head, transfer_head
from bench.downstream.outputs import BY_NAME, is_written
from bench.downstream.preprocess import rgb_picture
from catlip.broken import BrokenImage, BrokenImages
from catlip.cli import InputError, run
from catlip.dry_run import print_transfer
from catlip.fidelity import differences
from catlip.pictures import chosen, encoded_image
from catlip.recipe import TransferRecipe
from catlip.record import Record
from catlip.training.distributed import Place, find_place
from catlip.transfer_recipes import MULTILABELS
from catlip.vocabulary.label_sets import LabelSet, label_set

MOST_SHOWN = 5  # predictions a picture in the record


@dataclass(frozen=True)
class MultiLabel(Dense):
    """Train an encoder and a linear classifier of several labels an image; run the same command
    again to go on.

    python -m bench.downstream.multilabel --encoder runs/starter/pretrain/catlip-seed0 \\
        --data coco:data/starter-scenes/coco

    torchrun --nproc-per-node 4 -m bench.downstream.multilabel --recipe table_7c --num-devices 4 \\
        --data coco:/data/coco --encoder runs/datacomp/pretrain/catlip-seed0 --init transfer
    """

    recipe: tyro.conf.OmitArgPrefixes[TransferRecipe] = field(
        default_factory=lambda: MULTILABELS["starter"]
    )
    out: Path = Path("runs/bench/multilabel") / BY_NAME
    """The record to write; the run goes into a folder of the same name."""
    init: Init = "random"
    """Where the classifier starts: random, or transfer (Transfer Init, for encoders pre-trained by
    CatLIP).
    """
    transfer: tyro.conf.OmitArgPrefixes[TransferOptions] = field(
        default_factory=lambda: TransferOptions(bias="copy")
    )
    crowds: bool = True
    """A category is on an image also where only a crowd of it is annotated, as in the release."""
    compile: bool = False
    """Compile the transformer blocks, once for each image size."""


def main(config: MultiLabel) -> None:
    """Train, test, print, write the record."""
    place = find_place(config.device)
    if config.dry_run:
        print_transfer(config.recipe, "multilabel", place)
        return
    encoder = load_encoder(config.encoder, config.seed, place.device, config.recipe.resolution)
    if is_written(config.out, config, encoder.digest(), place.is_main):
        return
    record = Record(config.out, kind="multilabel", config=config)
    with record if place.is_main else nullcontext():
        train, val = (
            read_coco(coco_root(config.data), split, config.max_broken)
            for split in ("train", "val")
        )
        if train.names != val.names:
            raise InputError(f"{config.data}: training and validation list different categories")
        note_counts(record, train, val)
        if config.overfit:
            train = val = train.first(config.overfit)
            record.metrics["overfit"] = config.overfit
        score = _train(config, encoder, place, record, train, val)
        record.metrics |= {
            name: value for name, value in score.items() if not isinstance(value, list)
        }
        record.samples |= {
            name: value
            for name, value in score.items()
            if isinstance(value, list) and name != "broken"
        }
        broken = BrokenImages(train.broken.causes | val.broken.causes)
        broken.add(BrokenImage(*image) for image in score["broken"])
        leave_out(record, broken, place.is_main)
        record.samples["loss"] = _losses(config.folder) if place.is_main else []
    if place.is_main:
        print(
            f"{encoder.method:8} mAP macro {score['map_macro']:.3f}  micro {score['map_micro']:.3f}"
        )
        print(f"wrote {record.path}")


def _train(
    config: MultiLabel,
    encoder: LoadedEncoder,
    place: Place,
    record: Record,
    train: CocoSplit,
    val: CocoSplit,
) -> dict[str, Any]:
    """Of a run that was already finished, what it gave."""
    head = _head(config, encoder, label_names(train.names), record)
    recipe = fitting(config.recipe, encoder)
    record.notes += [
        f"images: {encoder.preprocess}",
        f"crowds {'count' if config.crowds else 'do not count'} as present",
    ]
    record.notes += differences(recipe, "multilabel", recipe.num_steps(len(train.images)))
    of_train, of_val = as_split(train, config.crowds), as_split(val, config.crowds)
    digest = encoder.digest()
    identity = {
        **{
            "transferred": config.encoder,
            "encoder_digest": digest,
            "data": config.data,
            "overfit": config.overfit,
        },
        **{
            "init": config.init,
            "transfer": str(config.transfer) if config.init == "transfer" else "",
            "crowds": config.crowds,
        },
    }
    how = (config.seed, place, config.num_workers, config.compile)
    run = Run(
        config.folder,
        recipe,
        identity,
        False,
        *how,
        checkpoint_every=config.checkpoint_every,
        quiet=config.quiet,
        max_broken=config.max_broken,
    )
    model = Classification(encoder.module, head, recipe, frozen=False, multi_label=True)
    note_encoder(record, encoder, digest, model)
    record.metrics |= {
        "num_train": len(of_train),
        "num_val": len(of_val),
        "num_classes": len(train.names),
    }
    record.samples["classes"] = train.names
    return fit(run, model, of_train, partial(_score, config, model, encoder, of_val, run))


def _losses(folder: Path) -> list[list[float]]:
    """[step, loss] of each line of the run's log."""
    lines = (json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines())
    return [[line["step"], line["loss"]] for line in lines]


def as_split(coco: CocoSplit, crowds: bool) -> Split:
    """The images of a split of COCO's, each with the categories that are on it; without any, it is
    an example of none.

    Args:
        crowds: whether a crowd counts.
    """
    labels = np.zeros((len(coco.images), len(coco.categories)), dtype=bool)
    class_ids = coco.class_ids
    for row, annotations in zip(labels, coco.annotations, strict=True):
        row[
            [
                class_ids[found["category_id"]]
                for found in annotations
                if crowds or not found.get("iscrowd")
            ]
        ] = True
    names = [image["file_name"] for image in coco.images]
    return Split(coco.folder, names, labels, partial(_of_file, coco.folder, names))


def _of_file(folder: Path, names: list[str], number: int) -> bytes:
    return (folder / names[number]).read_bytes()


def label_names(names: list[str]) -> LabelSet:
    """The categories with their synsets: of COCO's own, the senses chosen by hand; of others the
    first noun sense.
    """
    coco = label_set("coco")
    return coco if tuple(names) == coco.names else name_labels("coco", names)


def average_precision(scores: Tensor, labels: Tensor) -> dict[str, Any]:
    """How well scores rank the images of each class.

    Args:
        scores: [n, C] float; labels: [n, C] bool.
    Returns: `map_macro`, `map_micro` and `map_weighted` in [0, 1]; `ap_by_class`, None for a class
        without an image;
        `images_by_class`; `classes_without_images`.
    """
    scores, truth, images = scores.cpu(), labels.cpu().long(), labels.sum(dim=0).tolist()
    by_class = [
        _binary(scores[:, c], truth[:, c]) if count else None for c, count in enumerate(images)
    ]
    seen = [
        (found, count) for found, count in zip(by_class, images, strict=True) if found is not None
    ]
    return {
        "map_macro": sum(found for found, _ in seen) / len(seen) if seen else None,
        "map_micro": _binary(scores.flatten(), truth.flatten()) if seen else None,
        "map_weighted": sum(found * count for found, count in seen) / sum(images) if seen else None,
        "ap_by_class": by_class,
        "images_by_class": images,
        "classes_without_images": images.count(0),
    }


def _binary(scores: Tensor, truth: Tensor) -> float:
    """Of ranks: torchmetrics would take scores outside of [0, 1] through a sigmoid, which makes
    ties of the large ones.
    """
    distinct, ranks = scores.unique(return_inverse=True)
    return float(binary_average_precision(ranks.double() / len(distinct), truth))


def _head(
    config: MultiLabel, encoder: LoadedEncoder, labels: LabelSet, record: Record
) -> nn.Linear:
    if config.init == "random":
        return random_head(
            encoder.num_features, len(labels.names), config.seed, config.recipe.initialization
        )
    head, origins = transfer_head(encoder, config.encoder, labels, config.transfer, config.seed)
    record.samples["origins"] = [origin.row() for origin in origins]
    return head


@torch.inference_mode()
def _score(
    config: MultiLabel, model: Classification, encoder: LoadedEncoder, val: Split, run: Run
) -> dict[str, Any]:
    """Average precision over the images of all ranks, of which each tests its share, and what to
    draw.
    """
    place = run.place
    mine = val.take(np.arange(place.rank, len(val), place.world_size))
    quiet = run.quiet or not place.is_main
    features = extract(
        model.image_encoder, encoder.preprocess, mine, run.num_workers, quiet, run.max_broken
    )
    numbers, broken = features.numbers * place.world_size + place.rank, features.broken.images()
    part = (numbers, model.head(features.values).float().cpu(), broken)
    parts = [part] * place.world_size
    if dist.is_initialized():
        dist.all_gather_object(parts, part)
    numbers = np.concatenate([numbers for numbers, _, _ in parts])
    scores = torch.cat([scores for _, scores, _ in parts])
    found = average_precision(scores, torch.from_numpy(val.labels[numbers]))
    drawn = [
        int(np.flatnonzero(numbers == n)[0]) for n in chosen(len(val), config.draw) if n in numbers
    ]
    pictures = [_picture(val, int(numbers[row]), scores[row].sigmoid()) for row in drawn]
    return found | {
        "num_val": len(numbers),
        "pictures": pictures,
        "broken": [image for _, _, broken in parts for image in broken],
    }


def _picture(val: Split, number: int, chances: Tensor) -> dict[str, Any]:
    """A test image, the classes on it, and those that are found most likely."""
    best = chances.topk(min(MOST_SHOWN, len(chances)))
    return {
        "key": val.keys[number],
        "image": encoded_image(np.asarray(rgb_picture(val.image_bytes(number)))),
        "truth": np.flatnonzero(val.labels[number]).tolist(),
        "predicted": [
            {"class": c, "score": s}
            for s, c in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ],
    }


RECIPES = {
    name: MultiLabel(encoder=tyro.MISSING, data=tyro.MISSING, recipe=recipe)
    for name, recipe in MULTILABELS.items()
}

if __name__ == "__main__":
    run(MultiLabel, main, RECIPES)
