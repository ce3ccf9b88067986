"""What differs between CatLIP and CLIP beside the objective, and labels that are no classes."""

from itertools import product

import numpy as np
import pytest
from report_support import records_in

from bench.study.result import tuning_section
from catlip.records.table import Table
from reports.summary.doubts import doubts

IMAGES = 40


@pytest.fixture
def doubts_of(write_training, write_probe, read_setting):
    """CatLIP is right on the half whose labels are its classes, both on a tenth of the rest."""

    def write(**origin):
        half = IMAGES // 2
        parts = {"synsets": [], "similarities": [], "classes": [], "similarity": 1.0} | origin
        dog = parts | {"label": "dog", "kind": "exact"}
        quark = parts | {"label": "quark", "kind": "random"}
        origins = [dog, quark]
        if "test_images" in origin:  # a label's are one draw, so two labels have an interval
            origins.append(gluon := quark | {"label": "gluon"})
            dog["test_images"], quark["test_images"] = [*range(half)], [*range(half, 30)]
            gluon["test_images"] = [*range(30, IMAGES)]
        sizes = {"parameters_total": 3_000_000, "parameters_image": 1_000_000}
        for method, seed in product(("catlip", "clip"), range(6)):
            known = method == "catlip"
            recipe = {"encoder": "", "max_lr": 1e-3 if known else 5e-4, "betas": [0.9, 0.98]}
            write_training(method, seed, images=10.0, scale="mine", more=sizes, **recipe)
            right = np.zeros(IMAGES, dtype=bool)
            right[:half] = known
            right[half + seed % 4] = True
            samples = {"origins_concepts": origins} if known else {}
            write_probe(method, seed, {"concepts": right}, scale="mine", samples=samples)
        return " ".join(doubts(read_setting()))

    return write


def test_trials_of_another_encoder_are_counted_apart(doubts_of, write_study, tmp_path):
    for encoder, trial, method in product(("", "cnn"), range(2), ("catlip", "clip")):
        parts = {"config": {"recipe": {"encoder": encoder, "max_lr": 0.1}}}
        name = f"{encoder}{method}-{trial}"
        study = {"name": name, "scale": "mine", "parts": parts, "trial": trial}
        write_study("tuning", method, {"concepts": 0.1}, **study)
    assert "best of 2 trials each" in doubts_of()
    tables = [t for t in tuning_section(None, records_in(tmp_path)).blocks if isinstance(t, Table)]
    assert [[row[1].text for row in table.rows] for table in tables] == [["2", "2"]] * 2
    assert tables[1].title.endswith("cnn")


def test_labels_that_are_no_classes_are_compared(doubts_of):
    assert "classes: 0.0 (0.0 to 0.0)" in doubts_of(test_images=[])


def test_other_data_and_lengths_are_compared(doubts_of, write_study):
    tasks = {"heldout=0.3": "concepts, held out", "none": "concepts"}
    for method, seed in product(("catlip", "clip"), range(2)):
        of_seed = {"scale": "mine", "seed": seed}
        for noise, task in tasks.items():
            accuracies = {task: 0.5 if method == "catlip" else 0.4}
            write_study("robustness", method, accuracies, images_seen=10.0, noise=noise, **of_seed)
        write_study("scaling", method, {"concepts": 0.3}, images=25, encoder="", **of_seed)
    words = doubts_of()
    assert "left out of pre-training: +10.0 (2 seeds)." in words
    assert "After 25 epochs: 0.0 (2 seeds)." in words
