"""A dense task at its smallest, on as many ranks as torchrun starts.

torchrun --nproc-per-node 2 tests/bench/downstream/dense/dense_ranks.py TASK DATA RECORD
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[3] / "support"))

from small_dense import TASKS

name, data, out = sys.argv[1:]
task = TASKS[name]
options = {"micro_batch": 2, "num_devices": 4, "epochs": 1.0, "grad_clip": 1.0}
if name == "segmentation":
    # A CPU cannot synchronise batch norm.
    torch.nn.SyncBatchNorm.convert_sync_batchnorm = lambda model: model
    options["drop_path"] = 0.2
# AdamW makes much of rounding errors in gradients that are far smaller than this epsilon.
recipe = replace(task.recipe, **options, range_augment=(40.0, 20.0), eps=1e-3)
task.start(data, Path(out), encoder="random:vit_tiny16@48", recipe=recipe)
