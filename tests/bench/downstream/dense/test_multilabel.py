"""Multi-label classification: the metric and the labels."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from small_dense import change_file, write_coco

from bench.downstream.dense.annotations import read_coco
from bench.downstream.dense.multilabel import MultiLabelTask, average_precision, split_of_coco
from bench.downstream.multilabel import RECIPES as MULTILABEL
from catlip.encoders.load import open_encoder
from catlip.training.distributed import Rank


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 30),
    classes=st.integers(1, 6),
    largest=st.sampled_from([1.0, 58.0, 107.0]),
)
def test_average_precision_is_that_of_scikit_learn(seed, n, classes, largest) -> None:
    """Logits have any size: in float32 a sigmoid would make ties of all above 17."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, classes)) < 0.4
    truth[0] = True  # where a class has no image, there is no such number
    scores = largest * rng.integers(0, 8, (n, classes)).astype(np.float32)  # with ties
    found = average_precision(torch.from_numpy(scores), torch.from_numpy(truth))
    for name in ("macro", "micro"):
        expected = average_precision_score(truth, scores, average=name)
        assert found[f"map_{name}"] == pytest.approx(expected, abs=1e-5)
    by_class = np.atleast_1d(average_precision_score(truth, scores, average=None)).tolist()
    assert found["ap_by_class"] == pytest.approx(by_class, abs=1e-5)


def test_class_without_images_is_left_out() -> None:
    truth = torch.tensor([[True, False, False], [True, True, False], [False, True, False]])
    found = average_precision(truth.float(), truth)
    assert found == {"map_macro": 1, "map_micro": 1, "ap_by_class": [1, 1, None]}


def test_transferred_classifier_keeps_the_bias_of_its_rows(make_run) -> None:
    """Each label is a yes or no question, as each noun was."""
    run = str(make_run())
    config = replace(MULTILABEL["starter"], encoder=run, data="coco:x", init="transfer")
    encoder = open_encoder(run, resolution=32)
    model = MultiLabelTask(config, Rank(0, 1, torch.device("cpu")), encoder).build(["cat", "dog"])
    torch.testing.assert_close(model.head.bias, torch.full((2,), 0.1).logit())


def test_labels_are_the_categories_on_an_image_as_objects_or_as_a_crowd(tmp_path) -> None:
    def only_a_crowd(old: dict[str, Any]) -> dict[str, Any]:
        first = [a | {"iscrowd": 1} for a in old["annotations"] if a["image_id"] == 1]
        return old | {"annotations": first + [a for a in old["annotations"] if a["image_id"] > 2]}

    root = write_coco(tmp_path / "coco")
    change_file(root, "train", only_a_crowd)
    coco = read_coco(root, "train")
    split = split_of_coco(coco)
    assert not split.labels[1].any(), "an image without annotations is an example of no class"
    for row in (0, 2):
        categories = {annotation["category_id"] for annotation in coco.annotations[row]}
        assert {coco.categories[i]["id"] for i in np.flatnonzero(split.labels[row])} == categories
    in_a_worker = pickle.loads(pickle.dumps(split))  # of a process that is not forked
    assert in_a_worker.image_bytes(2) == split.image_bytes(2)
    values, offsets = split.ragged_labels([(split, number, 0) for number in range(3)])
    assert values.tolist() == [*np.nonzero(split.labels[:3])[1]]
    assert offsets.tolist() == [0, *split.labels[:3].sum(axis=1).cumsum()]
