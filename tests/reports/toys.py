"""What the metrics of a toy record hold where a test does not say it."""

from typing import Any

METRICS: dict[str, dict[str, Any]] = {
    "pretrain": {
        "method": "catlip",
        "seed": 0,
        "iterations": 100,
        "images_seen": 1000,
        "epochs_seen": 10.0,
        "final_loss": 5.0,
        "train_seconds": 10.0,
        "images_per_s": 100.0,
        "data_wait_share": 0.1,
        "peak_gib": 0.5,
        "parameters_total": 1_400_000,
        "parameters_image": 1_200_000,
    },
}
