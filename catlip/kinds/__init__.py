"""What a record of each kind holds: a dataclass a kind, shared by the bench that writes it and by
the reports that read it. Needs no torch.
"""

from catlip.kinds.base import KINDS, Interval, Kind, Summary
from catlip.kinds.busy_machine import BusyMachine, Waiting
from catlip.kinds.loop_overhead import LoopOverhead
from catlip.kinds.pretrain import Pretrain
from catlip.kinds.run import Run, read_run

__all__ = [
    "KINDS",
    "BusyMachine",
    "Interval",
    "Kind",
    "LoopOverhead",
    "Pretrain",
    "Run",
    "Summary",
    "Waiting",
    "read_run",
]
