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
}
