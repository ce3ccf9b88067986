"""Multi-label classification: the metric and the labels."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from small_dense import change_file, write_coco

from bench.downstream.dense.annotations import read_coco
from bench.downstream.dense.multilabel import as_split, average_precision

AVERAGES = ("macro", "micro", "weighted")


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 30), classes=st.integers(1, 6))
def test_average_precision_is_that_of_scikit_learn(seed, n, classes) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random((n, classes)) < 0.4
    truth[0] = True  # where a class has no image, there is no such number
    scores = rng.integers(0, 8, (n, classes)).astype(np.float32)  # with ties
    found = average_precision(torch.from_numpy(scores), torch.from_numpy(truth))
    for name in AVERAGES:
        expected = average_precision_score(truth, scores, average=name)
        assert found[f"map_{name}"] == pytest.approx(expected, abs=1e-5)
    by_class = np.atleast_1d(average_precision_score(truth, scores, average=None)).tolist()
    assert found["ap_by_class"] == pytest.approx(by_class, abs=1e-5)


@pytest.mark.parametrize("largest", [58.0, 107.0])
def test_logits_of_any_size_are_ranked_as_they_are(largest) -> None:
    """In float32 a sigmoid makes ties of logits above 17, and of those below -104."""
    rng = np.random.default_rng(0)
    truth = rng.random((400, 8)) < 0.3
    scores = rng.standard_normal((400, 8)).astype(np.float32) + truth
    grown = scores * (largest / np.abs(scores).max())
    found = average_precision(torch.from_numpy(grown), torch.from_numpy(truth))
    for name in AVERAGES:
        expected = average_precision_score(truth, scores, average=name)
        assert found[f"map_{name}"] == pytest.approx(expected, abs=1e-6)


def test_a_class_without_images_is_left_out() -> None:
    truth = torch.tensor([[True, False, False], [True, True, False], [False, True, False]])
    found = average_precision(truth.float(), truth)
    assert [found[f"map_{name}"] for name in AVERAGES] == [1, 1, 1]
    assert found["ap_by_class"] == [1, 1, None]
    assert found["classes_without_images"] == 1
    found = average_precision(torch.zeros(4, 3), torch.zeros(4, 3, dtype=torch.bool))
    assert (found["map_macro"], found["ap_by_class"]) == (None, [None] * 3)


def test_labels_are_what_the_file_says_and_crowds_count_when_asked(tmp_path) -> None:
    def only_a_crowd(old: dict[str, Any]) -> dict[str, Any]:
        first = [a | {"iscrowd": 1} for a in old["annotations"] if a["image_id"] == 1]
        return old | {"annotations": first + [a for a in old["annotations"] if a["image_id"] > 2]}

    root = write_coco(tmp_path / "coco")
    change_file(root, "train", only_a_crowd)
    coco = read_coco(root, "train")
    with_crowds, without = as_split(coco, True), as_split(coco, False)
    assert with_crowds.labels[0].any()
    assert not without.labels[0].any()
    assert not with_crowds.labels[1].any(), "an image without annotations is an example of no class"
    np.testing.assert_array_equal(with_crowds.labels[2:], without.labels[2:])
    in_a_worker = pickle.loads(pickle.dumps(with_crowds))  # of a process that is not forked
    assert in_a_worker.image_bytes(2) == with_crowds.image_bytes(2)
    third = {a["category_id"] for a in coco.annotations[2]}
    assert {coco.categories[i]["id"] for i in np.flatnonzero(without.labels[2])} == third
    values, offsets = without.ragged_labels([(without, number, 0) for number in range(3)])
    assert values.tolist() == np.flatnonzero(without.labels[2]).tolist()
    assert offsets.tolist() == [0, 0, 0, len(third)]
