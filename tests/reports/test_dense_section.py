"""The section on labels, masks and boxes: what each method reaches, and what was predicted."""

import base64
from itertools import product

import numpy as np
import pytest
from pictures import save
from PIL import Image
from report_support import records_in

from bench.downstream.dense.result import dense_table, picture_figures
from catlip.records.figures import render
from catlip.records.panels import decoded


def coded(values: np.ndarray) -> str:
    return base64.b64encode(save(Image.fromarray(values), "PNG")).decode()


IMAGE = coded(np.full((12, 12, 3), 90, dtype=np.uint8))
MAP = np.zeros((12, 12), dtype=np.uint8)
MAP[3:8, 3:8] = 1
OBJECT = {"class": 1, "box": [3, 3, 8, 8], "mask": coded(MAP.astype(bool)), "score": 0.9}
METRICS = {
    "multilabel": ("map_macro", "map_micro"),
    "segmentation": ("miou_fixed", "miou_slide"),
    "detection": ("box_ap", "mask_ap"),
}
GUESSES = [{"class": 1, "score": 0.8}, {"class": 0, "score": 0.1}]
PICTURES = {
    "multilabel": {"image": IMAGE, "truth": [1], "predicted": GUESSES},
    "segmentation": {"image": IMAGE, "truth": coded(MAP), "predicted": coded(MAP.T.copy())},
    "detection": {"image": IMAGE, "truth": [OBJECT], "predicted": [OBJECT, OBJECT]},
}


@pytest.fixture
def records(write_record, tmp_path):
    """Records of each method with two seeds, and one with Transfer Init."""
    levels = {"random": 0.1, "catlip": 0.2, "clip": 0.15}
    for kind, method, seed in product(METRICS, levels, range(2)):
        metrics = {"method": method, "pretrain_seed": seed}
        metrics |= dict.fromkeys(METRICS[kind], levels[method] + 0.02 * seed)
        metrics |= {"num_train": 1200, "num_val": 400, "num_classes": 2}
        samples = {"classes": ["cat", "dog"], "pictures": [{"key": "7"} | PICTURES[kind]]}
        write_record(kind, f"{method}-seed{seed}", metrics=metrics, samples=samples)
    transferred = {"method": "catlip", "pretrain_seed": 0, "map_macro": 0.9}
    name = "catlip_transfer-seed0"
    write_record("multilabel", name, metrics=transferred, config={"init": "transfer"})
    return records_in(tmp_path)


def test_row_a_method_and_a_column_a_measure_in_percent(records):
    (table,) = dense_table(records.every)
    measures = ("mAP", "micro mAP", "mIoU", "box AP", "mask AP")
    assert table.columns == ["Method", *(f"{measure} (%)" for measure in measures)]
    names = [row[0].text for row in table.rows]
    assert names == ["Random init", "CatLIP", "CatLIP, Transfer Init", "CLIP"]
    assert (table.rows[1][1].text, table.rows[1][1].small) == ("21.0 ± 1.4", "n = 2")
    assert "2 classes, 1,200 training and 400 test images" in table.caption


def test_predictions_are_drawn_beside_the_truth(records):
    (figure,) = picture_figures(records.every)
    tasks = ("Labels", "Label maps", "Boxes, masks")
    rows = [f"{task}: truth, Random init, CatLIP, CLIP" for task in tasks]
    assert f"rows: {', '.join(rows)}" in figure.alt
    assert "seed 0" in figure.caption
    assert render(figure).png[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "words",
    [
        *("!!!", base64.b64encode(b"no picture").decode(), "A" * 10**6),
        coded(np.zeros((4, 513), dtype=np.uint8)),  # larger than a record keeps
    ],
)
def test_what_is_no_picture_is_left_out(words):
    assert decoded(words, "RGB") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": {"classes": [7]}},
        {"samples": {"loss": [["a", "b"]]}},
        {"samples": {"pictures": [{"key": "7"} | PICTURES["detection"] | {"image": None}]}},
    ],
)
def test_record_that_cannot_be_shown_is_left_out(write_record, tmp_path, changes):
    write_record("detection", "catlip-seed0", **changes)
    assert records_in(tmp_path).every == ()
