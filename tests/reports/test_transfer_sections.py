"""The sections on what an encoder is worth: the right numbers, and no more than the pairs say."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from report_support import claims_of, figure, golden_record, page_in, records_in, table, write

from bench.downstream.probe.result import LinearProbe, packed, runs_of
from bench.downstream.probe.sections import class_figures, fraction_panels, lines_of
from catlip.records.run import Run
from catlip.records.table import MISSING, as_csv
from reports.sections import Page

MINUS = "\N{MINUS SIGN}"
TASKS = {"concepts": (4, 20), "subgroups": (2, 40)}  # classes, training images
CEILING = "timm:efficientnet_lite0"


def row(
    task: str, fraction: float, init: str, seed: int, top1: float, images: int
) -> dict[str, Any]:
    found = {"task": task, "fraction": fraction, "init": init, "seed": seed, "seconds": 1.0}
    return found | {"top1": top1, "top5": min(1.0, 2 * top1), "num_train": images}


def sizes() -> dict[str, int]:
    found = {}
    for task, (classes, images) in TASKS.items():
        found |= {f"{task}_num_classes": classes, f"{task}_num_train": images}
        found[f"{task}_num_test"] = 10
    return found


def probe(method: str, seed: int | None, base: float, gain: float = 0.0) -> dict[str, Any]:
    """Accuracies of `base` points, a point more for each classifier seed, half with 10 %."""
    inits = {"random": 0.0} | ({"transfer": gain} if gain else {})
    rows = [
        row(task, fraction, init, k, (base * part + k + more) / 100, images)
        for task, (_, whole) in TASKS.items()
        for fraction, part, images in ((0.1, 0.5, whole // 10), (1.0, 1.0, whole))
        for init, more in inits.items()
        for k in (0, 1)
    ]
    metrics = {"method": method, "pretrain_seed": seed, **sizes()}
    for task in TASKS:
        metrics[f"{task}_top1"] = (base + 0.5) / 100
        metrics[f"{task}_top5"] = min(1.0, 2 * (base + 0.5) / 100)
    return {"metrics": metrics, "samples": {"runs": rows}}


@pytest.fixture
def contents() -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, name) -> the parts of a record."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for seed in (0, 1):
        name = f"seed{seed}"
        found["linear_probe", f"catlip-{name}"] = probe("catlip", seed, 30 + 2 * seed, 3)
        found["linear_probe", f"clip-{name}"] = probe("clip", seed, 28)
        found["finetune", f"catlip-{name}"] = probe("catlip", seed, 40, 1)
        for method in ("catlip", "clip"):
            metrics = {"method": method, "pretrain_seed": seed, **sizes()}
            metrics |= {"concepts_knn_top1": 0.2 + 0.02 * seed, "concepts_knn_top5": 0.4}
            metrics |= {"concepts_zero_shot_top1": 0.1, "concepts_zero_shot_top5": 0.3}
            found["readout", f"{method}-{name}"] = {"metrics": metrics}
    found["linear_probe", "random-seed0"] = probe("random", 0, 5)
    found["linear_probe", "timm"] = probe(CEILING, None, 80)
    metrics = {"method": CEILING, "pretrain_seed": None, **sizes(), "concepts_knn_top1": 0.7}
    found["readout", "timm"] = {"metrics": metrics}
    return found


@pytest.fixture
def read(write_record, tmp_path, contents):
    """The page of these records, as they are by then."""

    def build() -> Page:
        for (kind, name), parts in contents.items():
            write_record(kind, name, **parts)
        return page_in(tmp_path)

    return build


@pytest.fixture
def record(write_record, tmp_path):
    """One record of these parts."""

    def written(kind: str, name: str = "catlip-seed0", **parts: Any) -> Run:
        path = write_record(kind, name, **parts)
        return next(found for found in records_in(tmp_path).every if found.path == str(path))

    return written


def test_table_1s_form_has_probes_and_fine_tuning_of_each_method(read):
    found = table(read(), "worth")
    tasks = product(("4 concepts", "2 subgroups"), ("LP", "FT"))
    assert list(found.columns)[1:] == [f"{task}, {how} (%)" for task, how in tasks]
    rows = {line[0].text: [(cell.text, cell.small) for cell in line[1:3]] for line in found.rows}
    assert rows["CatLIP"] == [("31.5 ± 1.4", "n = 2"), ("40.5 ± 0.0", "n = 2")]
    assert rows["CLIP"] == [("28.5 ± 0.0", "n = 2"), (MISSING, "")]
    assert rows[CEILING] == [("80.5", "n = 1"), (MISSING, "")]
    assert "Guessing gives 25.0 % on 4 concepts and 50.0 % on 2 subgroups." in found.caption
    assert "starter scale" in found.title


def test_l2_sweep_is_a_column_of_its_own_and_no_evidence(read, contents, write_record, tmp_path):
    def judged(page: Page) -> list[str]:
        found = (*claims_of(records_in(tmp_path)), page.headline)
        return [as_csv(one) for one in found if one]

    before = read()
    verdicts, worth = judged(before), table(before, "worth")
    for seed in (0, 1):
        write_record("l2_probe", f"catlip-seed{seed}", **probe("catlip", seed, 60))
        write_record("l2_probe", f"clip-seed{seed}", **probe("clip", seed, 20))
    page = page_in(tmp_path)
    found = table(page, "worth")
    assert judged(page) == verdicts
    swept = [i for i, name in enumerate(found.columns) if "LP by L2 sweep" in name]
    assert len(swept) == 2
    kept = {
        line[0].text: [line[i].text for i in range(len(line)) if i not in swept]
        for line in found.rows
    }
    for line in worth.rows:
        assert kept[line[0].text] == [cell.text for cell in line]
    rows = {line[0].text: line[swept[0]].text for line in found.rows if len(line) > 1}
    assert (rows["CatLIP"], rows["CLIP"], rows[CEILING]) == ("60.5 ± 0.0", "20.5 ± 0.0", MISSING)


def test_readouts_show_both_ways_of_classifying_without_training(read):
    found = table(read(), "readouts")
    assert list(found.columns[1:]) == [
        "4 concepts, zero-shot (%)",
        "4 concepts, nearest neighbours (%)",
    ]
    rows = {line[0].text: [(cell.text, cell.small) for cell in line[1:]] for line in found.rows}
    assert rows["CatLIP"] == [("10.0 ± 0.0", "n = 2"), ("21.0 ± 1.4", "n = 2")]
    assert rows[CEILING] == [(MISSING, ""), ("70.0", "n = 1")]


def test_line_is_the_mean_over_encoders_and_every_classifier_a_mark(read, tmp_path):
    page = read()
    records = [r for r in records_in(tmp_path).of(LinearProbe) if r.method != CEILING]
    runs = [run for r in records for run in runs_of(r) if run.task == "concepts"]
    lines = {(line.name, line.how): line for line in lines_of(runs)}
    assert list(lines) == [
        ("Random init", ""),
        ("CatLIP", "random start"),
        ("CatLIP", "Transfer Init"),
        ("CLIP", ""),
    ]
    for how, at_10, at_100 in (("random start", 16, 31.5), ("Transfer Init", 19, 34.5)):
        points = [(10, pytest.approx(at_10)), (100, pytest.approx(at_100))]
        assert lines["CatLIP", how].points == points
    whole = sorted(y for x, y in lines["CatLIP", "random start"].marks if x == 100)
    assert whole == pytest.approx([30, 31, 32, 33])
    drawn = figure(page, "linear_probe_by_share_1")
    assert "CatLIP, Transfer Init: 19.0 % at 10 %, 34.5 % at 100 %" in drawn.alt
    assert "25.0 %" in drawn.caption
    (panels,) = fraction_panels([r for r in records if r.kind == "linear_probe"])
    assert "means of 1 to 2 encoders" in panels.caption


def test_method_that_was_probed_by_another_recipe_has_no_line(read, contents):
    contents["linear_probe", "siglip"] = probe("siglip", 0, 9)
    assert "SigLIP: " in figure(read(), "linear_probe_by_share_1").alt
    contents["linear_probe", "siglip"] |= {"config": {"recipe": {"min_steps": 0}}}
    assert "SigLIP" not in figure(read(), "linear_probe_by_share_1").alt


def test_class_has_the_mean_accuracy_of_its_own_images(record):
    """CLIP leads in the larger of two classes: 2/3 against 1/2 of three images in two seeds."""
    bits = {"catlip": ([1, 1, 1, 0], [1, 0, 1, 0]), "clip": ([0, 1, 1, 0], [0, 1, 0, 1])}
    origin = {"kind": "near", "similarity": 0.5, "synsets": [], "similarities": [], "classes": []}
    labels = [{"label": "few", "test_images": [0]}, {"label": "many", "test_images": [1, 2, 3]}]
    records = []
    for method, of_seeds in bits.items():
        for seed, right in enumerate(of_seeds):
            of_other = {f"other_num_{what}": 4 for what in ("classes", "train", "test")}
            of_other |= {"method": method, "pretrain_seed": seed}
            records.append(record("linear_probe", f"{method}-seed{seed}-other", metrics=of_other))
            found = row("subgroups", 1.0, "random", 0, float(np.mean(right)), 40)
            found["correct"] = packed(np.array(right, bool))
            samples = {"runs": [found], "origins_subgroups": [origin | one for one in labels]}
            metrics = {"method": method, "pretrain_seed": seed, **sizes(), "subgroups_num_test": 4}
            records.append(
                record("linear_probe", f"{method}-seed{seed}", metrics=metrics, samples=samples)
            )
    (drawn,) = class_figures(records, "clip")
    assert "few 100 and 0; many 50 and 67" in drawn.alt
    assert "CLIP leads in 1 of 2 classes, among them the largest" in drawn.caption


def test_fractions_of_the_same_images_count_once(record):
    """5 % and 10 % of two images a class are both one image of each class."""
    rows = [
        row("concepts", f, i, 0, 0.3, n)
        for f, n in ((0.05, 10), (0.1, 10), (1, 20))
        for i in ("random", "transfer")
    ]
    found = record("linear_probe", metrics={"method": "catlip", **sizes()}, samples={"runs": rows})
    kept = [*product((50, 100), ("random", "transfer"))]
    assert sorted((run.fraction, run.init) for run in runs_of(found)) == kept


def test_numbers_of_two_scales_never_share_a_table_or_a_figure(write_record, tmp_path):
    write_record("linear_probe", "catlip-seed0", **probe("catlip", 0, 30, 3))
    write_record("linear_probe", "clip-seed0", scale="cc3m", **probe("clip", 0, 50))
    page = page_in(tmp_path)
    for name, method in (("worth", "CLIP"), ("headline_2", "CatLIP")):
        assert [line[0].text for line in table(page, name).rows] == [method]
    assert "cc3m scale" in table(page, "worth").title


def test_vocabularies_of_two_scales_never_share_a_table(tmp_path):
    content = golden_record("vocabulary_statistics")
    write(tmp_path, content, "starter")
    content["metrics"] |= {"num_classes": 24_321, "num_captions": 1_300_000_001}
    write(tmp_path, content, "datacomp")
    page = page_in(tmp_path)
    for name, scale, own, other in (
        ("labels", "datacomp", "24,321", "33"),
        ("labels_2", "starter", "33", "24,321"),
    ):
        found = table(page, name)
        cells = {cell.text for row in found.rows for cell in row}
        assert (own in cells, other in cells, scale in found.title) == (True, False, True)
