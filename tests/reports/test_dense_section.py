"""The section on labels, masks and boxes: what each method reaches, whether pre-training helps, and
what was predicted.
"""

import base64
import io
from itertools import product

import numpy as np
import pytest
from PIL import Image
from report_support import records_in

from bench.downstream.dense.result import (
    SLIDING,
    TASKS,
    dense_table,
    gain_sentences,
    picture_figures,
    section,
)
from catlip.results.figures import render
from catlip.results.panels import decoded
from reports.read.records import read_records


def coded(values: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


IMAGE = coded(np.full((12, 12, 3), 90, dtype=np.uint8))
MAP = np.zeros((12, 12), dtype=np.uint8)
MAP[3:8, 3:8] = 1
OBJECT = {"class": 1, "box": [3, 3, 8, 8], "mask": coded(MAP.astype(bool)), "score": 0.9}
METRICS = {
    "multilabel": ("map_macro", "map_micro"),
    "segmentation": ("miou_fixed", "miou_slide"),
    "detection": ("box_ap", "mask_ap", "box_ap_class_agnostic"),
}
GUESSES = [{"class": 1, "score": 0.8}, {"class": 0, "score": 0.1}]
PICTURES = {
    "multilabel": {"image": IMAGE, "truth": [1], "predicted": GUESSES},
    "segmentation": {"image": IMAGE, "truth": coded(MAP), "predicted": coded(MAP.T.copy())},
    "detection": {"image": IMAGE, "truth": [OBJECT], "predicted": [OBJECT, OBJECT]},
}


@pytest.fixture
def records_of(write_record, tmp_path):
    """Records of each method with two seeds, some of them with other parts."""

    def build(**changes):
        levels = {"random": 0.1, "catlip": 0.2, "clip": 0.15}
        for kind, method, seed in product(METRICS, levels, range(2)):
            metrics = {"method": method, "pretrain_seed": seed}
            metrics |= dict.fromkeys(METRICS[kind], levels[method] + 0.02 * seed)
            metrics |= {"num_train": 1200, "num_val": 400, "num_classes": 2}
            pictures = [{"key": "7"} | PICTURES[kind]]
            samples = {"classes": ["cat", "dog"], "pictures": pictures}
            parts = {"metrics": metrics, "samples": samples}
            write_record(kind, f"{method}-seed{seed}", **parts | changes)
        return records_in(tmp_path)

    return build


def test_a_row_a_method_and_a_column_a_measure_in_percent(records_of, write_record, tmp_path):
    records_of()
    transferred = {"method": "catlip", "pretrain_seed": 0, "map_macro": 0.9}
    name = "catlip_transfer-seed0"
    write_record("multilabel", name, metrics=transferred, config={"init": "transfer"})
    records = records_in(tmp_path).every
    (table,) = dense_table(records)
    columns = {title: measure for task in TASKS for measure, title in task.columns.items()}
    shown = [title for title, measure in columns.items() if measure != SLIDING]  # as the fixed one
    assert table.columns == ["Method", *(f"{title} (%)" for title in shown)]
    names = [row[0].text for row in table.rows]
    assert names == ["Random init", "CatLIP", "CatLIP, Transfer Init", "CLIP"]
    assert (table.rows[1][1].text, table.rows[1][1].small) == ("21.0 ± 1.4", "n = 2")
    assert "2 classes, 1,200 training and 400 test images" in table.caption
    # Transfer Init does not decide whether pre-training helps.
    assert gain_sentences(records)[0] == (
        "Labels, mAP: CatLIP is above random init in each of 2 seeds, by 10.0 points on average; "
        "CLIP is above random init in each of 2 seeds, by 5.0 points on average."
    )


def test_that_pre_training_does_not_help_is_said(write_record, tmp_path):
    for method, values in {"random": (0.3, 0.1), "catlip": (0.2, 0.15), "clip": (0.1,)}.items():
        for seed, value in enumerate(values):
            metrics = {"method": method, "pretrain_seed": seed, "box_ap": value}
            write_record("detection", f"{method}-seed{seed}", metrics=metrics)
    (sentence,) = gain_sentences(records_in(tmp_path).every)
    assert "CatLIP is above random init in 1 of 2 seeds only" in sentence
    assert "CLIP is not above random init in any of 1 seed" in sentence


def test_older_trainings_on_the_test_images_are_left_out(write_record, tmp_path):
    metrics = {"method": "random", "overfit": 10, "box_ap": 0.8, "mask_ap": 0.75}
    write_record("detection", "overfit", metrics=metrics, samples={"loss": [[1, 5.2], [300, 0.25]]})
    blocks = section(None, records_in(tmp_path)).blocks
    assert not [block for block in blocks if block.kind == "table"]
    assert any("1 trained and tested" in block.words for block in blocks if block.kind == "text")
    assert len([block for block in blocks if block.kind == "command"]) == 2


def test_predictions_are_drawn_beside_the_truth(records_of):
    (figure,) = picture_figures(records_of().every)
    tasks = ("Labels", "Label maps", "Boxes, masks")
    rows = [f"{task}: truth, Random init, CatLIP, CLIP" for task in tasks]
    assert f"rows: {', '.join(rows)}" in figure.alt
    assert "seed 0" in figure.caption
    assert render(figure).png[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "words",
    [
        *(None, "!!!", base64.b64encode(b"no picture").decode(), "A" * 10**6),
        coded(np.zeros((4, 513), dtype=np.uint8)),  # larger than a record keeps
    ],
)
def test_what_is_no_picture_is_left_out(words):
    assert decoded(words, "RGB") is None


@pytest.mark.parametrize(
    "samples",
    [
        {"loss": [["a", "b"]]},
        *(
            {"pictures": [{"key": "7"} | PICTURES["detection"] | change]}
            for change in (
                {"truth": [OBJECT | {"box": [0, 0, 1]}]},
                {"image": None},
            )
        ),
    ],
)
def test_a_record_with_a_spoiled_picture_or_curve_is_left_out(write_record, tmp_path, samples):
    write_record("detection", "catlip-seed0", samples=samples)
    assert records_in(tmp_path).every == ()


def test_without_records_the_section_says_what_to_run(tmp_path):
    blocks = section(None, read_records([tmp_path])).blocks
    assert [b.line for b in blocks if b.kind == "command"] == ["./run_all.sh --full"]
