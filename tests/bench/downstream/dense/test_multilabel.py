"""Multi-label classification: the metric, the labels, and the whole program on a small data set in
COCO's layout.
"""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from small_coco import change_annotations, write_coco
from small_data import ON_A_CPU

from bench.downstream.dense.coco import read_coco
from bench.downstream.dense.multilabel import as_split, average_precision, label_names
from bench.downstream.multilabel import MultiLabel, main
from bench.downstream.probe.datasets import ragged
from catlip.cli import InputError
from catlip.recipes.transfer import STARTER_MULTILABEL
from catlip.record import read_record
from catlip.vocabulary.label_sets import label_set

SIZE = {"resolution": 48, "min_resolution": 48, "max_resolution": 48}
RECIPE = replace(
    STARTER_MULTILABEL,
    **SIZE,
    epochs=3,
    micro_batch=4,
    warmup_iterations=1,
    crop_scale=(1.0, 1.0),
    precision="fp32",
)


@pytest.fixture
def root(tmp_path):
    return write_coco(tmp_path / "coco")


def started(root, out, **changes) -> MultiLabel:
    plain = ON_A_CPU | {"encoder": "random:hybrid_mini@48", "recipe": RECIPE, "draw": 2}
    return MultiLabel(data=f"coco:{root}", out=out, **plain | changes)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 30), classes=st.integers(1, 6))
def test_average_precision_is_that_of_scikit_learn(seed, n, classes):
    rng = np.random.default_rng(seed)
    truth = rng.random((n, classes)) < 0.4
    truth[0] = True  # where a class has no image, there is no such number
    scores = rng.integers(0, 8, (n, classes)).astype(np.float32)  # with ties
    found = average_precision(torch.from_numpy(scores), torch.from_numpy(truth))
    for name in ("macro", "micro", "weighted"):
        expected = average_precision_score(truth, scores, average=name)
        assert found[f"map_{name}"] == pytest.approx(expected, abs=1e-5)
    by_class = np.atleast_1d(average_precision_score(truth, scores, average=None)).tolist()
    assert found["ap_by_class"] == pytest.approx(by_class, abs=1e-5)


@pytest.mark.parametrize("largest", [58.0, 107.0])
def test_logits_of_any_size_are_ranked_as_they_are(largest):
    """In float32 a sigmoid makes ties of logits above 17, and of those below -104."""
    rng = np.random.default_rng(0)
    truth = rng.random((400, 8)) < 0.3
    scores = rng.standard_normal((400, 8)).astype(np.float32) + truth
    expected = average_precision(torch.from_numpy(scores), torch.from_numpy(truth))
    grown = scores * (largest / np.abs(scores).max())
    found = average_precision(torch.from_numpy(grown), torch.from_numpy(truth))
    for name in ("macro", "micro", "weighted"):
        of_scikit_learn = average_precision_score(truth, grown, average=name)
        assert found[f"map_{name}"] == pytest.approx(of_scikit_learn, abs=1e-6)
        assert found[f"map_{name}"] == pytest.approx(expected[f"map_{name}"], abs=1e-6)


def test_truth_as_prediction_gives_one_and_a_class_without_images_is_left_out():
    truth = torch.tensor([[True, False, False], [True, True, False], [False, True, False]])
    found = average_precision(truth.float(), truth)
    assert [found[f"map_{name}"] for name in ("macro", "micro", "weighted")] == [1, 1, 1]
    assert found["ap_by_class"] == [1, 1, None]
    assert found["classes_without_images"] == 1


def test_images_without_any_object_have_no_score_and_no_crash():
    found = average_precision(torch.zeros(4, 3), torch.zeros(4, 3, dtype=torch.bool))
    assert found["map_macro"] is None
    assert found["ap_by_class"] == [None] * 3
    assert found["classes_without_images"] == 3


def test_labels_are_what_the_file_says_and_crowds_count_when_asked(root):
    def only_a_crowd(old):
        first = [a | {"iscrowd": 1} for a in old["annotations"] if a["image_id"] == 1]
        return old | {"annotations": first + [a for a in old["annotations"] if a["image_id"] > 2]}

    change_annotations(root, "train", only_a_crowd)
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


def test_ragged_labels_are_the_same_labels():
    dense = np.array([[True, False, True], [False, False, False], [False, True, False]])
    values, offsets = ragged(dense)
    assert values.tolist() == [0, 2, 1]
    assert offsets.tolist() == [0, 2, 2, 3]
    assert [a.tolist() for a in ragged(np.array([4, 1]))] == [[4, 1], [0, 1, 2]]


def test_cocos_own_categories_have_the_senses_chosen_by_hand_and_others_are_looked_up():
    coco = label_set("coco")
    assert label_names(list(coco.names)) == coco
    assert label_names(["animal-bird", "drink"]).names == ("animal-bird", "drink")


def test_the_program_learns_ten_images_by_heart(root, tmp_path):
    out = tmp_path / "overfit.json"
    main(started(root, out, overfit=10, recipe=replace(RECIPE, epochs=40, max_lr=3e-3)))
    record = read_record(out)
    assert record["metrics"]["overfit"] == 10
    assert record["metrics"]["num_val"] == 10
    assert record["metrics"]["map_macro"] > 0.95
    assert record["metrics"]["final_loss"] < 0.5
    (_, first), *_, (last_step, last) = record["samples"]["loss"]
    assert last_step == 100
    assert last == record["metrics"]["final_loss"] < first


def test_the_record_says_what_was_transferred_and_names_each_class_rightly(root, tmp_path):
    out = tmp_path / "run.json"
    main(started(root, out))
    record = read_record(out)
    metrics, samples = record["metrics"], record["samples"]
    assert samples["classes"] == ["person", "fire hydrant", "microwave"]
    truth = as_split(read_coco(root, "val"), True).labels
    assert samples["images_by_class"] == truth.sum(axis=0).tolist()
    assert metrics["map_macro"] == pytest.approx(np.mean(samples["ap_by_class"]))
    assert metrics["method"] == "random"
    assert len(metrics["encoder_digest"]) == 16
    assert metrics["train_images"] == 12
    assert metrics["num_val"] == 6
    fields = {"key", "image", "truth", "predicted"}
    assert [set(picture) for picture in samples["pictures"]] == [fields] * 2
    again = json.loads(out.read_text())["metrics"]
    main(started(root, out))  # a finished run is read, not repeated
    assert read_record(out)["metrics"] == again
    before = out.read_bytes()
    with pytest.raises(InputError, match=r"run\.json .*\(crowds True there, False now\)"):
        main(started(root, out, crowds=False))
    assert out.read_bytes() == before
    assert not (tmp_path / "run.json.partial").exists()
    default = MultiLabel(encoder="random:hybrid_mini@48", data=f"coco:{root}").out
    assert default == Path("runs/bench/multilabel/random-hybrid_mini@48-coco.json")


def test_images_that_are_left_out_are_counted_and_listed_and_said(root, tmp_path, capsys):
    (root / "val2017" / "000000001003.jpg").write_bytes(b"")
    (root / "val2017" / "000000001004.jpg").write_bytes(b"GIF89a")
    (root / "train2017" / "000000000004.jpg").unlink()
    main(started(root, tmp_path / "run.json", recipe=replace(RECIPE, epochs=1)))
    record = read_record(tmp_path / "run.json")
    assert record["metrics"]["broken"] == {"missing": 1, "empty": 1, "damaged": 1}
    assert sorted(key.split("/")[-1] for key in record["samples"]["broken_keys"]) == [
        "train2017:000000000004.jpg (missing)",
        "val2017:000000001003.jpg (empty)",
        "val2017:000000001004.jpg (damaged)",
    ]
    assert (record["metrics"]["num_train"], record["metrics"]["num_val"]) == (11, 4)
    before, after = capsys.readouterr().out.splitlines()[:2]
    assert "2 images" in before, "known before the training"
    assert "3 images" in after
    with pytest.raises(InputError, match="--max-broken 0"):
        main(started(root, tmp_path / "none.json", max_broken=0.0))


def test_what_cannot_be_used_is_said_in_one_line(root, tmp_path):
    def shouted(old):
        return old | {"categories": [c | {"name": c["name"].upper()} for c in old["categories"]]}

    change_annotations(root, "val", shouted)
    with pytest.raises(InputError, match="categories"):
        main(started(root, tmp_path / "run.json"))
    assert not (tmp_path / "run.json.partial").exists(), "nothing was begun"
    with pytest.raises(InputError, match="random:hybrid_mini@48"):
        main(started(write_coco(tmp_path / "other"), tmp_path / "other.json", init="transfer"))
