"""What a toy record holds where a test does not say it: nothing that a claim could be judged by."""

import dataclasses
import math
import re
from typing import Any

from bench.downstream.dense.result import SHAPES, Precision

TRANSFERRED = {"pretrain_seed": None}
DENSE = TRANSFERRED | {
    "num_parameters": 1_300_000,
    "num_train": 1200,
    "num_val": 400,
    "num_classes": 21,
    "seconds": 10.0,
    "final_loss": 1.0,
}
PRECISION = {
    f"{shape}_{field.name}": None for shape in SHAPES for field in dataclasses.fields(Precision)
}
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
    "multilabel": DENSE | {"map_macro": 0.3, "map_micro": 0.3, "map_weighted": 0.3},
    "segmentation": DENSE | {"miou_fixed": 0.3, "accuracy_fixed": 0.5, "class_accuracy_fixed": 0.4},
    "detection": DENSE | PRECISION | {"box_ap": 0.3, "mask_ap": 0.3},
    "step_time": {"methods": {}, "ratios": {}},
    "waterfall": {
        "published_ratio": 2.7,
        "unit": "ms_per_image",
        "release": {"orders": {}, "total": {}},
        "further": {"orders": {}, "total": {}},
    },
}
ROWS: dict[str, dict[str, Any]] = {
    "linear_probe": {"top5": 1.0, "num_train": 10, "seconds": 1.0},
    "finetune": {"top5": 1.0, "num_train": 10, "seconds": 1.0},
}
NUM_CLASSES = 10


def completed(kind: str, name: str, parts: dict[str, Any]) -> dict[str, Any]:
    """The parts of a record of this kind, with what its metrics and its rows lack."""
    metrics = parts.get("metrics", {})
    if kind in METRICS and isinstance(metrics, dict):
        known = dict(METRICS[kind])
        if kind not in ("step_time", "waterfall"):
            known["method"] = re.sub(r"-seed\d+$", "", name)
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
