"""What differs between CatLIP and CLIP beside the objective, and labels that are no classes."""

from itertools import product

import numpy as np
import pytest
from report_support import records_in

from bench.downstream.probe.result import packed
from bench.study.result import tuning_section
from catlip.records.table import Table
from reports.read.setting import settings
from reports.summary.doubts import doubts

IMAGES = 40


@pytest.fixture
def said(write_record, tmp_path):
    """CatLIP is right on the half whose labels are its classes, both on a tenth of the rest."""

    def write(scale="mine", **origin):
        half = IMAGES // 2
        parts = {"synsets": [], "similarities": [], "classes": [], "similarity": 1.0} | origin
        dog = parts | {"label": "dog", "kind": "exact"}
        quark = parts | {"label": "quark", "kind": "random"}
        origins = [dog, quark]
        if "test_images" in origin:  # a label's are one draw, so two labels have an interval
            origins.append(gluon := quark | {"label": "gluon"})
            dog["test_images"], quark["test_images"] = [*range(half)], [*range(half, 30)]
            gluon["test_images"] = [*range(30, IMAGES)]
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
            samples = {"runs": [row]} | ({"origins_concepts": origins} if known else {})
            write_record("linear_probe", name, scale=scale, metrics=probe, samples=samples)
        (setting,) = settings(records_in(tmp_path))
        return " ".join(doubts(setting))

    return write


def test_what_differs_is_named_with_whom_it_favours(said):
    words = said()
    assert "text tower of 2.0 M parameters; recipes differ in learning rate" in words
    assert "no record of tuning" in words
    assert (
        "In CatLIP's favour: 1 of 2 labels of concepts that are classes it was trained on" in words
    )
    assert "Labels that are not" not in words
    assert "drawings of all test concepts" not in words


def test_trials_of_another_encoder_are_counted_apart(said, write_record, tmp_path):
    for encoder, trial, method in product(("", "cnn"), range(2), ("catlip", "clip")):
        metrics = {"method": method, "trial": trial, "drawn": {"max_lr": 0.1}}
        metrics |= {"accuracies": {"concepts": 0.1}}
        recipe = {"recipe": {"encoder": encoder, "max_lr": 0.1}}
        write_record(
            "tuning", f"{encoder}{method}-{trial}", scale="mine", metrics=metrics, config=recipe
        )
    assert "best of 2 trials each" in said()
    tables = [t for t in tuning_section(None, records_in(tmp_path)).blocks if isinstance(t, Table)]
    assert [[row[1].text for row in table.rows] for table in tables] == [["2", "2"]] * 2
    assert tables[1].title.endswith("cnn")


def test_labels_that_are_no_classes_are_compared_where_the_records_know_their_images(said):
    assert "classes: 0.0 (0.0 to 0.0)" in said(test_images=[])


def test_other_data_and_lengths_are_said(said, write_record):
    tasks = {"heldout=0.3": "concepts, held out", "teams=a+b": "concepts", "none": "concepts"}
    for (noise, task), method, seed in product(tasks.items(), ("catlip", "clip"), range(2)):
        metrics = {"method": method, "seed": seed, "noise": noise, "samples": 7, "classes": 2}
        metrics |= {"classes_kept": 1.0, "images_seen": 10.0, "final_loss": 1.0}
        metrics["accuracies"] = {task: 0.5 if method == "catlip" else 0.4}
        name = f"{method}-{noise}-seed{seed}"
        write_record("robustness", name, scale="mine", metrics=metrics)
        metrics |= {"encoder": "", "fraction": 1.0, "images": 25, "images_seen": 25.0}
        metrics |= {"flops": 1.0, "train_seconds": 1.0, "accuracies": {"concepts": 0.3}}
        write_record("scaling", f"{method}-seed{seed}", scale="mine", metrics=metrics)
    words = said()
    assert "left out of pre-training: +10.0 (2 seeds)." in words
    assert "Drawings of two other teams: +10.0 (2 seeds)." in words
    assert "Trained 2.5 times as long: 0.0 (2 seeds)." in words
