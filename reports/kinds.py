"""The modules of all results, in the order of the page: importing one enters its kinds in KINDS.

A new bench is one folder with a `result.py`, and one line here.
"""

# ruff: noqa: F401
import bench.communication.result
import bench.data_path.result
import bench.downstream.dense.result
import bench.downstream.probe.result
import bench.downstream.probe.transfer_options_result
import bench.label_accuracy.result
import bench.labelling.result
import bench.memory.result
import bench.plan.analytic_result
import bench.plan.projection_result
import bench.plan.result
import bench.step_time.bias_init_result
import bench.step_time.busy_machine_result
import bench.step_time.compiling_result
import bench.step_time.loop_overhead_result
import bench.step_time.result
import bench.studies.longer_training_result
import bench.studies.result
import bench.studies.robustness_result
import bench.studies.scaling_result
import bench.studies.threshold_result
import bench.studies.tuning_result
import bench.waterfall.result
import catlip.data.scenes_result
import catlip.label.result
import catlip.pretraining.result
import catlip.recipes.result
import catlip.vocabulary.result
from catlip.results.kind import KINDS as KINDS
