"""What a record of each kind holds: one dataclass per kind, shared by the bench that writes the
record and by the reports that read it. Does not need torch.
"""

# The imports enter each kind in KINDS, and other modules import these names from here.
# ruff: noqa: F401

from catlip.kinds.base import KINDS, Interval, Kind, Summary
from catlip.kinds.cost.analytic import Analytic, MethodCosts
from catlip.kinds.cost.bias_init import BiasInit, BiasLosses, FirstSteps
from catlip.kinds.cost.busy_machine import BusyMachine, Waiting
from catlip.kinds.cost.communication import (
    AllReduce,
    CollectiveCalls,
    Communication,
    LinkFit,
    MethodExchange,
)
from catlip.kinds.cost.compiling import CompiledSize, Compiling
from catlip.kinds.cost.data_path import (
    DataPath,
    EpochPlan,
    Images,
    PixelDifference,
    RemoteShards,
    WorkerMemory,
)
from catlip.kinds.cost.loop_overhead import LoopOverhead
from catlip.kinds.cost.memory import (
    BatchMemory,
    LargestBatch,
    Memory,
    MemoryParts,
    MemoryRatio,
    MethodMemory,
)
from catlip.kinds.cost.plan import Plan, PlanCheck, PlannedRun
from catlip.kinds.cost.projection import (
    Layout,
    LayoutRatio,
    ProjectedCompute,
    ProjectedLink,
    Projection,
    Validation,
)
from catlip.kinds.cost.step_time import Ceiling, MethodSteps, StepTime
from catlip.kinds.cost.waterfall import Pair, Step, Waterfall, Way
from catlip.kinds.run import Run, read_run
from catlip.kinds.transfer.dense import Dense, Detection, Multilabel, Segmentation
from catlip.kinds.transfer.longer_training import LongerTraining
from catlip.kinds.transfer.pretrain import Pretrain
from catlip.kinds.transfer.robustness import Robustness
from catlip.kinds.transfer.scaling import Scaling
from catlip.kinds.transfer.scenes import Scenes
from catlip.kinds.transfer.transfer import Finetune, LinearProbe, OnTasks, Readout, Transferred
from catlip.kinds.transfer.transfer_options import TransferOptions
from catlip.kinds.transfer.tuning import Trial
from catlip.kinds.words.examples import Examples
from catlip.kinds.words.label_accuracy import LabelAccuracy
from catlip.kinds.words.label_audit import LabelAudit
from catlip.kinds.words.labelling import Labelling
from catlip.kinds.words.labelling_speed import LabellingSpeed
from catlip.kinds.words.recipes import Recipes
from catlip.kinds.words.threshold import Threshold
from catlip.kinds.words.vocabulary import VocabularyCounts, VocabularyStatistics
