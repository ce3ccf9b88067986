"""Which categories are on an image: a linear classifier on an encoder, trained together by the loop
and the data path of pre-training.

It is scored by average precision in two ways: as the mean over the categories that test images have
(macro, which the paper reports), and over all decisions together (micro). As in the release, a
category is on an image also where only a crowd of it is annotated.
"""

from functools import partial
from itertools import chain
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision

from bench.downstream.dense.annotations import CocoSplit, SplitName, folder_of, read_coco
from bench.downstream.dense.config import Dense
from bench.downstream.dense.harness import DenseTask, Results
from bench.downstream.multilabel import MultiLabel
from bench.downstream.probe.datasets import Split, file_bytes, name_labels
from bench.downstream.probe.features import extract_part
from bench.downstream.probe.readouts import transfer_head
from bench.downstream.probe.sweep import (
    Classification,
    Data,
    Training,
    data_path,
    random_head,
    recipe_for_encoder,
)
from catlip.encoders.load import LoadedEncoder, load_encoder
from catlip.objective import Objective
from catlip.pretraining.method import add_range_augment
from catlip.program.broken import read_broken
from catlip.recipes.transfer import TransferRecipe
from catlip.training.distributed import Rank, all_gather_objects
from catlip.vocabulary.label_sets import label_set


class MultiLabelTask(DenseTask):
    config: MultiLabel
    recipe: TransferRecipe

    def __init__(self, config: MultiLabel, rank: Rank, encoder: LoadedEncoder):
        super().__init__(config, rank, encoder)
        self.recipe = recipe_for_encoder(config.recipe, encoder)
        self.compile = config.compile
        self.origins: list[dict[str, Any]] = []  # of the rows of a transferred head

    @classmethod
    def open_encoder(cls, config: Dense, rank: Rank) -> LoadedEncoder:
        recipe = cast("MultiLabel", config).recipe
        return load_encoder(
            config.encoder,
            config.seed,
            rank.device,
            resolution=recipe.resolution,
            resize=recipe.test_resize,
        )

    def read(self, split: SplitName) -> CocoSplit:
        return read_coco(folder_of(self.config.data, "coco"), split, self.config.max_broken)

    def build(self, names: list[str]) -> Classification:
        config, encoder, seed = self.config, self.encoder, self.config.seed
        if config.init == "random":
            head = random_head(encoder.num_features, len(names), seed, config.recipe.initialization)
        else:
            # Senses of COCO's names were chosen by hand; other names get their first noun sense.
            coco = label_set("coco")
            labels = coco if tuple(names) == coco.names else name_labels("coco", names)
            head, origins = transfer_head(
                encoder, config.encoder, labels, config.transfer, seed, copy_bias=True
            )
            self.origins = [origin.row() for origin in origins]
        return Classification(encoder.module, head, self.recipe, frozen=False, multi_label=True)

    def identity(self, train: Any, val: Any) -> dict[str, Any]:
        config = self.config
        return {
            "transferred": config.encoder,
            "init": config.init,
            "transfer": str(config.transfer) if config.init == "transfer" else "",
        }

    def data(self, training: Training, split: CocoSplit) -> Data:
        return data_path(training, split_of_coco(split))

    def objective(self, model: Classification) -> Objective:
        return add_range_augment(model, self.recipe)

    @torch.inference_mode()
    def test(self, model: Classification, split: CocoSplit) -> Results:
        config, images = self.config, split_of_coco(split)
        model.eval()
        features = extract_part(self.encoder, images, config, self.rank)
        scores = model.head(features.values).float().cpu()
        ranks = all_gather_objects((features.numbers, scores, features.broken.images()))
        numbers = np.concatenate([numbers for numbers, _, _ in ranks])
        scores = torch.cat([scores for _, scores, _ in ranks])
        broken = [read_broken(config.folder).images(), *(of_rank for _, _, of_rank in ranks)]
        found = average_precision(scores, torch.from_numpy(images.labels[numbers]))
        if self.origins:
            found["origins"] = self.origins
        return found | {
            "num_val": len(numbers),
            "broken": list(chain.from_iterable(broken)),
        }


TASK = MultiLabelTask


def split_of_coco(coco: CocoSplit) -> Split:
    """The images of a split of COCO's, each with the categories that are on it."""
    labels = np.zeros((len(coco.images), len(coco.categories)), dtype=bool)
    class_ids = coco.class_ids
    for row, annotations in zip(labels, coco.annotations, strict=True):
        row[[class_ids[annotation["category_id"]] for annotation in annotations]] = True
    names = [image["file_name"] for image in coco.images]
    paths = [str(coco.folder / name) for name in names]
    return Split(coco.folder, names, labels, image_bytes=partial(file_bytes, paths))


def average_precision(scores: Tensor, labels: Tensor) -> dict[str, Any]:
    """How well scores [n, C] rank the images of each class, labels [n, C] bool."""
    truth = labels.long()
    by_class = [
        _binary(scores[:, c], truth[:, c]) if truth[:, c].any() else None
        for c in range(truth.shape[1])
    ]
    seen = [ap for ap in by_class if ap is not None]
    return {
        "map_macro": sum(seen) / len(seen),
        "map_micro": _binary(scores.flatten(), truth.flatten()),
        "ap_by_class": by_class,
    }


def _binary(scores: Tensor, truth: Tensor) -> float:
    # torchmetrics would apply a sigmoid to scores outside of [0, 1], which makes ties of the large
    # ones; so it gets their ranks.
    distinct, ranks = scores.unique(return_inverse=True)
    return float(binary_average_precision(ranks.double() / len(distinct), truth))
