"""What tests of the report share: records on disk, toys and traps; tables of a page."""

import dataclasses
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from bench.downstream.dense.result import Detection
from catlip.records.figures import Figure, render
from catlip.records.run import Records
from catlip.records.table import Table, as_csv
from reports.paper.claims import claims_tables, verdicts
from reports.read.records import read_records
from reports.render.page import markdown
from reports.sections import Page, build_page

REPOSITORY = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
GOLDEN_RECORDS = [
    path
    for path in sorted((GOLDEN / "records").glob("*/*/*.json"))
    if path.name not in ("cut-short.json", "foreign.json")
]

# Pixels of a side that the paper transfers at.
SIDES = {
    "linear_probe": 224,
    "finetune": 224,
    "multilabel": 512,
    "segmentation": 512,
    "detection": 1024,
}

HEAD: dict[str, Any] = {
    "schema": 1,
    "command": "python -m something",
    "config": {},
    "environment": {"device": "Device A", "device_count": 1, "revision": "abc", "dirty": False},
    "metrics": {},
    "samples": {},
    "notes": [],
}


def claims_of(records: Records) -> list[Table]:
    """The tables of claims and of rules."""
    return claims_tables(records, verdicts(records))


def table(page: Page, name: str) -> Table:
    (found,) = [table for table in page.tables if table.name == name]
    return found


def figure(page: Page, name: str) -> Figure:
    (found,) = [figure for figure in page.figures if figure.name == name]
    return found


def records_in(tmp_path: Path) -> Records:
    """What a test has written."""
    return read_records([tmp_path / "runs"])


def page_in(tmp_path: Path) -> Page:
    """The page of what a test has written."""
    return build_page(records_in(tmp_path))


def golden_record(kind: str) -> dict[str, Any]:
    """What the first golden record of this kind holds."""
    contents = (json.loads(path.read_text()) for path in GOLDEN_RECORDS)
    return next(content for content in contents if content["kind"] == kind)


def write(
    tmp_path: Path,
    content: dict[str, Any],
    scale: str = "bench",
    root: str = "runs",
    device: str = "",
) -> Path:
    """Write a record, of another device where one is named."""
    if device:
        content = content | {"environment": content["environment"] | {"device": device}}
    path = tmp_path / root / scale / content["kind"] / f"{content['name']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def structure(svg: str) -> str:
    """How many parts of each kind an SVG of matplotlib's has, and its words in their order."""
    kinds = Counter(re.findall(r'<g id="([A-Za-z0-9]*[A-Za-z])_\d+">', svg))
    words = re.findall(r"<text[^>]*>(.*?)</text>", svg, re.DOTALL)
    return (
        f"{', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}: "
        f"{' | '.join(words)}"
    )


def structures(folder: Path) -> str:
    """A line a figure."""
    return "".join(
        f"{path.stem}: {structure(path.read_text())}\n" for path in sorted(folder.glob("*.svg"))
    )


TRANSFERRED = {"pretrain_seed": None}
DENSE = TRANSFERRED | {
    "num_parameters": 1_300_000,
    "num_train": 1200,
    "num_val": 400,
    "num_classes": 21,
    "seconds": 10.0,
    "final_loss": 1.0,
}
PRECISION = {field.name: None for field in dataclasses.fields(Detection) if "_ap" in field.name}
METRICS: dict[str, dict[str, Any]] = {
    "pretrain": {
        "iterations": 100,
        "images_seen": 1000,
        "epochs_seen": 10.0,
        "final_loss": math.nan,
        "train_seconds": math.nan,
        "images_per_s": 100.0,
        "data_wait_share": 0.1,
        "peak_gib": 0.5,
        "parameters_total": 1_400_000,
        "parameters_image": 1_200_000,
    },
    "linear_probe": TRANSFERRED,
    "finetune": TRANSFERRED,
    "readout": TRANSFERRED,
    "multilabel": DENSE | {"map_macro": 0.3, "map_micro": 0.3},
    "segmentation": DENSE | {"miou_fixed": 0.3, "accuracy_fixed": 0.5, "class_accuracy_fixed": 0.4},
    "detection": DENSE | PRECISION | {"box_ap": 0.3, "mask_ap": 0.3},
    "scaling": {
        "encoder": "tiny",
        "fraction": 1.0,
        "flops": 1.0,
        "train_seconds": 1.0,
        "final_loss": 1.0,
    },
    "robustness": {
        "samples": 9,
        "classes": 9,
        "classes_kept": 1.0,
        "images_seen": 1000.0,
        "final_loss": 1.0,
    },
    "tuning": {"trial": 0, "drawn": {"max_lr": 0.1}},
    "finalist": {"trial": 0, "drawn": {"max_lr": 0.1}},
    "step_time": {"methods": {}, "ratios": {}},
    "waterfall": {
        "published_ratio": 2.7,
        "release": {"orders": {}, "total": {}},
    },
}
ROWS: dict[str, dict[str, Any]] = {
    "linear_probe": {"top5": 1.0, "num_train": 10, "seconds": 1.0},
    "finetune": {"top5": 1.0, "num_train": 10, "seconds": 1.0},
    "scaling": {"top5": 1.0, "num_train": 10, "seconds": 1.0},
}
NUM_CLASSES = 10


def completed(kind: str, name: str, parts: dict[str, Any]) -> dict[str, Any]:
    """The parts of a record of this kind, with what its metrics and its rows lack."""
    metrics = parts.get("metrics", {})
    if kind in METRICS and isinstance(metrics, dict):
        known = dict(METRICS[kind])
        if kind not in ("step_time", "waterfall"):
            known["method"] = re.sub(r"-seed\d+$", "", name)
        if kind == "scaling":
            known["images_seen"] = float(metrics.get("images", 0))
        if kind == "pretrain":
            named = re.search(r"-seed(\d+)$", name)
            config = parts.get("config", {})
            known["seed"] = config.get("seed", int(named[1]) if named else 0)
        for task in (key.rpartition("_")[0] for key in metrics if key.endswith("top1")):
            known[f"{re.sub('_(knn|zero_shot)$', '', task)}_num_classes"] = NUM_CLASSES
        parts = parts | {"metrics": known | metrics}
    samples = parts.get("samples", {})
    if kind in ROWS and isinstance(samples, dict) and isinstance(samples.get("runs"), list):
        rows = [ROWS[kind] | row if isinstance(row, dict) else row for row in samples["runs"]]
        parts = parts | {"samples": samples | {"runs": rows}}
    return parts


def steps(**parts: Any) -> dict[str, Any]:
    """The steps of one method, as bench.step_time records them."""
    summary = {"median": 1.0}
    timed = {f"{part}_ms": summary for part in ("total", "forward", "backward", "optimizer")}
    return timed | {"parameters": 1_400_000, "images_per_s": 100.0} | parts


def step_times(
    ratios: dict[str, Any], methods: tuple[str, ...] = ("catlip", "clip"), **more: Any
) -> dict[str, Any]:
    """The metrics of a record of step times: pair -> its ratio, alone or with both ends."""
    intervals = {}
    for pair, ratio in ratios.items():
        ends = ratio if isinstance(ratio, tuple) else (ratio, ratio - 0.01, ratio + 0.01)
        intervals[pair] = dict(zip(("value", "low", "high"), ends, strict=True))
    return {"methods": {method: steps() for method in methods}, "ratios": intervals} | more


ATTACK = "$\\frac{1$ \x1b]0;x\x07\x9b31m <script>alert(1)</script> \u202e\x00 | [a](b)\r=cmd"
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def poisoned(tree: object) -> object:
    """Every string, and every key of free choice, with an attack behind it."""
    if isinstance(tree, dict):
        free = ("no noun", "tagged", "its ", "a label")
        return {
            f"{key} {ATTACK}" if key.startswith(free) else key: poisoned(value)
            for key, value in tree.items()
        }
    if isinstance(tree, list):
        return [poisoned(value) for value in tree]
    return (
        f"{tree} {ATTACK}"
        if isinstance(tree, str) and not re.fullmatch(r"paper|corenet|\w+\.n\.\d+", tree)
        else tree
    )


def can_be_shown(page: Page, are_drawn: bool = True) -> None:
    """Text and tables are written, and figures drawn where they are asked for."""
    assert markdown(page)
    assert all(as_csv(table) for table in page.tables)
    for figure in page.figures if are_drawn else ():
        render(figure)


def names_of_files(page: Page) -> list[str]:
    """The names of figures and tables, which lead nowhere but into the report's folder."""
    names = [figure.name for figure in page.figures] + [table.name for table in page.tables]
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names)
    return names
