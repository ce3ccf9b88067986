"""What the metrics of a toy record hold where a test does not say it: nothing that a claim could be
judged by.
"""

import math
from typing import Any

METRICS: dict[str, dict[str, Any]] = {
    "pretrain": {
        "method": "catlip",
        "seed": 0,
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
    "step_time": {"methods": {}, "ratios": {}},
    "waterfall": {
        "published_ratio": 2.7,
        "unit": "ms_per_image",
        "release": {"orders": {}, "total": {}},
        "further": {"orders": {}, "total": {}},
    },
}


def steps(**parts: Any) -> dict[str, Any]:
    """The steps of one method, as bench.step_time records them."""
    summary = {"median": 1.0}
    timed = {f"{part}_ms": summary for part in ("total", "forward", "backward", "optimizer")}
    return timed | {"parameters": 1_400_000, "images_per_s": 100.0} | parts
