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

from bench.downstream.dense import figures as dense
from bench.downstream.dense.figures import (
    dense_sections,
    dense_table,
    gain_sentences,
    other_encoders,
    overfit_table,
)
from bench.downstream.dense.pictures import picture_figures
from bench.downstream.dense.result import Multilabel
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
MEASURES = {
    "multilabel": ("map_macro", "map_micro"),
    "segmentation": ("miou_fixed", "miou_slide"),
    "detection": ("box_ap", "mask_ap", "box_ap_class_agnostic"),
}
PICTURES = {
    "multilabel": {
        "image": IMAGE,
        "truth": [1],
        "predicted": [{"class": 1, "score": 0.8}, {"class": 0, "score": 0.1}],
    },
    "segmentation": {"image": IMAGE, "truth": coded(MAP), "predicted": coded(MAP.T.copy())},
    "detection": {"image": IMAGE, "truth": [OBJECT], "predicted": [OBJECT, OBJECT]},
}


@pytest.fixture
def records_of(write_record, tmp_path):
    """Records of each method with two seeds, some of them with other parts."""

    def build(**changes):
        levels = {"random": 0.1, "catlip": 0.2, "clip": 0.15}
        for kind, method, seed in product(MEASURES, levels, range(2)):
            metrics = {"method": method, "pretrain_seed": seed}
            metrics |= dict.fromkeys(MEASURES[kind], levels[method] + 0.02 * seed)
            metrics |= {"num_train": 1200, "num_val": 400, "num_classes": 2}
            samples = {
                "classes": ["cat", "dog"],
                "ap_by_class": [levels[method], None],
                "pictures": [{"key": "7"} | PICTURES[kind]],
            }
            parts = {"metrics": metrics, "samples": samples}
            write_record(kind, f"{method}-seed{seed}", **parts | changes)
        return records_in(tmp_path)

    return build


def test_a_row_a_method_and_a_column_a_metric_in_percent(records_of):
    (table,) = dense_table(records_of().every)
    assert table.columns == [
        "Method",
        *(
            f"{title} (%)"
            for measures in dense.MEASURES.values()
            for measure, title in measures.items()
            if measure != dense.SLIDING  # which is as the fixed one here
        ),
    ]
    assert [row[0].text for row in table.rows] == ["Random init", "CatLIP", "CLIP"]
    assert table.rows[1][1].text == "21.0 ± 1.4"
    assert table.rows[1][1].small == "n = 2"
    assert "2 classes, 1,200 training and 400 test images" in table.caption


def test_transfer_init_has_a_row_of_its_own_and_no_say_in_whether_pre_training_helps(
    records_of, write_record, tmp_path
):
    records_of()
    metrics = {"method": "catlip", "pretrain_seed": 0, "map_macro": 0.9}
    config = {"init": "transfer"}
    write_record("multilabel", "catlip_transfer-seed0", metrics=metrics, config=config)
    records = records_in(tmp_path).every
    names = [row[0].text for row in dense_table(records)[0].rows]
    assert names == ["Random init", "CatLIP", "CatLIP, Transfer Init", "CLIP"]
    assert gain_sentences(records)[0] == (
        "Labels, mAP: CatLIP is above random init in each of 2 seeds, by 10.0 points on average; "
        "CLIP is above random init in each of 2 seeds, by 5.0 points on average."
    )


def test_that_pre_training_does_not_help_is_said(write_record, tmp_path):
    for method, values in {"random": (0.3, 0.1), "catlip": (0.2, 0.15), "clip": (0.1,)}.items():
        for seed, value in enumerate(values):
            metrics = {"method": method, "pretrain_seed": seed, "box_ap": value}
            write_record("detection", f"{method}-seed{seed}", metrics=metrics)
    (said,) = gain_sentences(records_in(tmp_path).every)
    assert "CatLIP is above random init in 1 of 2 seeds only" in said
    assert "CLIP is not above random init in any of 1 seed" in said


@pytest.mark.parametrize(("probed", "warned"), [("aa", False), ("bb", True), ("", False)])
def test_encoders_of_other_weights_than_those_probed_are_said_to_be(
    write_record, tmp_path, probed, warned
):
    for kind, digest in (("multilabel", "aa"), ("linear_probe", probed)):
        metrics = {"method": "catlip", "pretrain_seed": 0, "map_macro": 0.2}
        write_record(kind, "catlip-seed0", metrics=metrics | {"encoder_digest": digest})
    records = records_in(tmp_path)
    said = other_encoders(records.of(Multilabel), records)
    assert [words[:31] for words in said] == ["Beware: 1 of 1 encoders here ar"] * warned


def test_what_was_learnt_by_heart_stands_apart(write_record, tmp_path):
    metrics = {"method": "random", "overfit": 10, "box_ap": 0.8, "mask_ap": 0.75}
    write_record("detection", "overfit", metrics=metrics, samples={"loss": [[1, 5.2], [300, 0.25]]})
    records = records_in(tmp_path)
    (section,) = dense_sections(None, records)
    tables = [block for block in section.blocks if block.kind == "table"]
    assert [table.name for table in tables] == ["dense_overfit"]
    cells = ["Detection", "10", "5.20", "0.250", "Boxes, AP", "80.0"]
    assert [cell.text for cell in tables[0].rows[0]] == cells
    commands = [block for block in section.blocks if block.kind == "command"]
    assert commands, "what is missing can be run"


def test_predictions_are_drawn_beside_the_truth(records_of):
    (figure,) = picture_figures(records_of().every)
    tasks = ("Labels", "Label maps", "Boxes, masks")
    rows = [f"{task}: truth, Random init, CatLIP, CLIP" for task in tasks]
    assert f"rows: {', '.join(rows)}" in figure.alt
    assert "seed 0" in figure.caption
    assert render(figure).png[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "words", [None, 7, "", "!!!", base64.b64encode(b"no picture").decode(), "A" * 10**6]
)
def test_what_is_no_picture_is_left_out(words):
    assert decoded(words, "RGB") is None


def test_a_picture_larger_than_a_record_keeps_is_left_out():
    assert decoded(coded(np.zeros((4, 513), dtype=np.uint8)), "L") is None
    assert decoded(coded(np.zeros((4, 512), dtype=np.uint8)), "L").shape == (4, 512)


@pytest.mark.parametrize("samples", [{"classes": 3}, {"classes": ["a", 5]}, {"pictures": []}])
def test_samples_of_any_form_make_a_page(records_of, samples):
    records = records_of(samples=samples)
    (section,) = dense_sections(None, records)
    for block in section.blocks:
        if block.kind == "figures":
            [render(figure) for figure in block.figures]


@pytest.mark.parametrize(
    "change",
    [
        {"truth": 5},
        {"predicted": [{"class": 10**400, "box": [0, 0, 1, 1], "mask": ""}]},
        {"truth": [OBJECT | {"box": [0, 0, 1]}]},
        {"truth": [OBJECT | {"mask": MAP.tolist()}]},
        {"image": None},
    ],
)
def test_a_record_with_a_spoiled_picture_is_left_out(write_record, tmp_path, change):
    picture = {"key": "7"} | PICTURES["detection"] | change
    write_record("detection", "catlip-seed0", samples={"pictures": [picture]})
    assert records_in(tmp_path).every == ()


@pytest.mark.parametrize("loss", [[1], [[2]], [["a", "b"]], "x"])
def test_a_record_with_a_curve_that_is_none_is_left_out(records_of, loss):
    assert records_of(samples={"loss": loss}).every == ()


def test_without_records_the_section_says_what_to_run(tmp_path):
    (section,) = dense_sections(None, read_records([tmp_path]))
    assert [block.line for block in section.blocks if block.kind == "command"] == [
        "./run_all.sh --full"
    ]
    assert overfit_table([]) == []
