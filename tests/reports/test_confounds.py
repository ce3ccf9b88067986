"""What differs between CatLIP and CLIP beside the objective, and CatLIP on labels that it did not
learn as classes.
"""

from itertools import product

import numpy as np
import pytest
from report_support import records_in

from bench.downstream.probe.result import packed
from reports.read.measured import settings
from reports.summary.confounds import confounds

IMAGES = 40


@pytest.fixture
def said(write_record, tmp_path):
    """Of six seeds; CatLIP is right on the first half, of labels that are its classes, CLIP on
    nothing, and both on a tenth of the rest.
    """

    def write(scale="mine", **origin):
        half = IMAGES // 2
        parts = {"synsets": [], "similarities": [], "classes": [], "similarity": 1.0} | origin
        dog = parts | {"label": "dog", "kind": "exact"}
        quark = parts | {"label": "quark", "kind": "random"}
        if "test_images" in origin:
            dog["test_images"], quark["test_images"] = [*range(half)], [*range(half, IMAGES)]
        for method, seed in product(("catlip", "clip"), range(6)):
            known, name = method == "catlip", f"{method}-seed{seed}"
            metrics = {"method": method, "seed": seed, "images_seen": 10.0}
            metrics |= {"parameters_total": 3_000_000, "parameters_image": 1_000_000}
            recipe = {"max_lr": 1e-3 if known else 5e-4, "betas": [0.9, 0.98]}
            write_record("pretrain", name, scale=scale, metrics=metrics, config={"recipe": recipe})
            right = np.zeros(IMAGES, dtype=bool)
            right[:half] = known
            right[half + seed % 4] = True
            row = {"task": "concepts", "fraction": 1.0, "init": "random", "seed": 0}
            row |= {"top1": float(right.mean()), "correct": packed(right)}
            probe = {"method": method, "pretrain_seed": seed, "concepts_num_classes": 2}
            probe |= {"concepts_top1": float(right.mean()), "concepts_num_test": IMAGES}
            samples = {"runs": [row]} | ({"origins_concepts": [dog, quark]} if known else {})
            write_record("linear_probe", name, scale=scale, metrics=probe, samples=samples)
        (setting,) = settings(records_in(tmp_path))
        return confounds(setting)

    return write


def test_what_differs_is_named_with_whom_it_favours(said):
    words = said()
    assert "text tower of 2.0 M parameters, and recipes differ in learning rate" in words
    assert "no record of tuning" in words
    assert "In CatLIP's favour: 1 of 2 concepts are classes that it was trained on" in words
    assert "Labels that are not" not in words
    assert "drawings of all these concepts" not in words


def test_the_starters_concepts_were_all_drawn_in_its_pretraining_which_is_said_of_no_other_data(
    said,
):
    words = said(scale="starter")
    assert "drawings of all these concepts" in words
    assert "1 of 2 concepts" not in words


def test_labels_that_are_no_classes_are_compared_where_the_records_know_their_images(said):
    assert "classes: 0.0 points on concepts (0.0 to 0.0; 20 images)" in said(test_images=[])


def test_probes_of_another_data_set_do_not_stand_for_those_of_the_first(said, write_record):
    alone = said(test_images=[])
    right = packed(np.ones(IMAGES, dtype=bool))
    row = {"task": "fashion_mnist", "fraction": 1.0, "init": "random", "seed": 0, "top1": 1.0}
    label = {"label": "bag", "kind": "near", "test_images": [0, 1], "similarity": 0.5}
    label |= {"synsets": [], "similarities": [], "classes": []}
    samples = {"runs": [row | {"correct": right}], "origins_fashion_mnist": [label]}
    for seed in range(6):
        for method in ("catlip", "clip"):
            metrics = {"method": method, "pretrain_seed": seed, "fashion_mnist_top1": 1.0}
            metrics["fashion_mnist_num_test"] = IMAGES
            name = f"{method}-seed{seed}-fashion_mnist"
            write_record("linear_probe", name, scale="mine", metrics=metrics, samples=samples)
    both = said(test_images=[])
    assert "0.0 points on concepts (0.0 to 0.0; 20 images)" in alone
    assert "0.0 points on Fashion-MNIST (0.0 to 0.0; 2 images), 0.0 points on concepts" in both
