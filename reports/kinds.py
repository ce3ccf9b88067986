"""The modules of all results, in the order of the page: importing one enters its kinds in KINDS.

A new bench is one folder with a `result.py`, and one line here.
"""

# ruff: noqa: F401

import bench.communication.result
import bench.downstream.dense.result
import bench.downstream.probe.result
import bench.downstream.retrieval.result
import bench.memory.result
import bench.plan.result
import bench.self_check.result
import bench.step_time.result
import bench.study.result
import bench.waterfall.result
import catlip.label.result
import catlip.pretraining.result
import catlip.vocabulary.result
from catlip.records.kind import KINDS as KINDS
