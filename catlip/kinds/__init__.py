"""What a record of each kind holds: a dataclass a kind, shared by the bench that writes it and by
the reports that read it. Needs no torch.
"""

from catlip.kinds.analytic import Analytic, MethodCosts
from catlip.kinds.base import KINDS, Interval, Kind, Summary
from catlip.kinds.bias_init import BiasInit, BiasLosses, FirstSteps
from catlip.kinds.busy_machine import BusyMachine, Waiting
from catlip.kinds.communication import (
    AllReduce,
    CollectiveCalls,
    Communication,
    LinkFit,
    MethodExchange,
)
from catlip.kinds.data_path import DataPath, EpochPlan, Images, PixelDifference, WorkerMemory
from catlip.kinds.dense import Dense, Detection, Multilabel, Segmentation
from catlip.kinds.examples import Examples
from catlip.kinds.label_accuracy import LabelAccuracy
from catlip.kinds.label_audit import LabelAudit
from catlip.kinds.labelling import Labelling
from catlip.kinds.labelling_speed import LabellingSpeed
from catlip.kinds.longer_training import LongerTraining
from catlip.kinds.loop_overhead import LoopOverhead
from catlip.kinds.memory import BatchMemory, Memory, MemoryParts, MemoryRatio, MethodMemory
from catlip.kinds.pretrain import Pretrain
from catlip.kinds.projection import (
    Layout,
    LayoutRatio,
    ProjectedCompute,
    ProjectedLink,
    Projection,
    Validation,
)
from catlip.kinds.recipes import Recipes
from catlip.kinds.run import Run, read_run
from catlip.kinds.scenes import Scenes
from catlip.kinds.step_time import Ceiling, MethodSteps, StepTime
from catlip.kinds.threshold import Threshold
from catlip.kinds.transfer import Finetune, LinearProbe, OnTasks, Readout, Transferred
from catlip.kinds.transfer_options import TransferOptions
from catlip.kinds.vocabulary import VocabularyCounts, VocabularyStatistics
from catlip.kinds.waterfall import Pair, Step, Waterfall, Way

__all__ = [
    "KINDS",
    "AllReduce",
    "Analytic",
    "BatchMemory",
    "BiasInit",
    "BiasLosses",
    "BusyMachine",
    "Ceiling",
    "CollectiveCalls",
    "Communication",
    "DataPath",
    "Dense",
    "Detection",
    "EpochPlan",
    "Examples",
    "Finetune",
    "FirstSteps",
    "Images",
    "Interval",
    "Kind",
    "LabelAccuracy",
    "LabelAudit",
    "Labelling",
    "LabellingSpeed",
    "Layout",
    "LayoutRatio",
    "LinearProbe",
    "LinkFit",
    "LongerTraining",
    "LoopOverhead",
    "Memory",
    "MemoryParts",
    "MemoryRatio",
    "MethodCosts",
    "MethodExchange",
    "MethodMemory",
    "MethodSteps",
    "Multilabel",
    "OnTasks",
    "Pair",
    "PixelDifference",
    "Pretrain",
    "ProjectedCompute",
    "ProjectedLink",
    "Projection",
    "Readout",
    "Recipes",
    "Run",
    "Scenes",
    "Segmentation",
    "Step",
    "StepTime",
    "Summary",
    "Threshold",
    "TransferOptions",
    "Transferred",
    "Validation",
    "VocabularyCounts",
    "VocabularyStatistics",
    "Waiting",
    "Waterfall",
    "Way",
    "WorkerMemory",
    "read_run",
]
