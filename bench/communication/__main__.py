"""What the ranks of a training step send each other, how long that takes, and how much of it the
step waits for.

Collectives are intercepted in a real step (`bench.measuring.collectives.listen`), and compared with
what `bench.arithmetic.exchanges.sent` says. Each is then timed twice: in the step, by the profiler,
and bare, at the same size with nothing else going on. `bench.measuring.exchange_time` measures how
much of that time the step waits for; a link's latency and bandwidth are fitted for
`bench.plan --link`.
"""

import os

# Set before torch is loaded, which reads it; otherwise torch's profiler writes lines to stderr.
os.environ.setdefault("KINETO_LOG_LEVEL", "6")

import warnings
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from baselines.methods import BASELINES
from bench.arithmetic.memory import default_batch, device_bytes
from bench.communication import result
from bench.communication.result import communication_tables
from bench.measuring import exchange_time
from bench.measuring.methods import shown
from bench.measuring.training_step import (
    PRECISION,
    RECIPE,
    Factors,
    MethodNames,
    StepConfig,
    factors_of,
)
from catlip.cli import InputError, run
from catlip.costs import GIB
from catlip.program.progress import progress
from catlip.program.ranges import Natural
from catlip.record import Record, build_name
from catlip.results.run import Run
from catlip.table import print_tables
from catlip.training.distributed import Place, find_place, of_all_ranks
from catlip.training.parallel import Parallel

START = "torchrun --nproc-per-node 2 -m bench.communication"
# How long a rank waits for the others. No step here needs that long; NCCL's start on many machines
# may.
PATIENCE = {"cpu": timedelta(seconds=60), "cuda": timedelta(seconds=600)}


@dataclass(frozen=True)
class Communication(StepConfig):
    """Intercept and time the collectives of each method's training step, on several ranks.

    torchrun --nproc-per-node 2 -m bench.communication --model vit_tiny16
    torchrun --nproc-per-node 8 -m bench.communication --model vit_b16 --methods catlip clip \\
        --parallel fsdp
    """

    methods: MethodNames = ("catlip", *BASELINES)
    """Methods to measure; the other forms of CatLIP send the same."""
    batch_size: Natural = 0
    """Images per step and rank; 0 for 4 on a CPU, and on a GPU for 256, or fewer if 256 do not fit.
    """
    parallel: Parallel = "ddp"
    """ddp, or fsdp."""
    num_steps: Natural = 0
    """Number of timed steps with exchange, of timed steps without, and of repetitions of bare
    collectives; 0 for 50 on a GPU and 10 on a CPU.
    """
    num_warmup: Natural = 3
    """Steps before the timed ones, not counted; DDP finds its buckets in the first."""
    device: str = "auto"
    """auto, cpu (gloo) or cuda (NCCL, one GPU per rank)."""
    out: Path = Path("runs/bench/communication")
    """Folder for the record, named by model, batch, precision, parallel, ranks, torch and
    device.
    """

    def __post_init__(self) -> None:
        for method in self.methods:
            factors_of(self, method, precision=self.precision or RECIPE.precision)
        if self.device not in ("auto", "cpu", "cuda"):
            raise InputError(
                f"device {self.device!r} is not auto, cpu or cuda: each rank takes a GPU of its own"
            )
        if self.num_warmup < 2:
            raise InputError(
                f"--num-warmup {self.num_warmup} is too few: DDP changes its buckets after the "
                "first step; try 3"
            )


def resolve(config: Communication) -> tuple[Communication, Place]:
    """The config with every default that depends on the device filled in, and this rank's Place.

    Raises: InputError.
    """
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    if ranks < 2:
        raise InputError(f"this bench needs several ranks, but there is one; start it by: {START}")
    gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    backend = "NCCL" if gpu else "gloo"
    if not (dist.is_available() and dist.is_backend_available(backend)):
        raise InputError(
            f"torch {torch.__version__} was built without {backend}, so ranks cannot communicate"
        )
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", ranks)), torch.cuda.device_count()
    if gpu and 0 < gpus < here:
        raise InputError(
            f"{here} ranks on a machine with {gpus} GPUs; start at most {gpus}, or add --device cpu"
        )
    place = find_place(config.device, PATIENCE["cuda" if gpu else "cpu"])
    config = replace(
        config,
        precision=config.precision or PRECISION[place.device.type],
        num_steps=config.num_steps or (50 if gpu else 10),
    )
    usual = min(default_batch([factors_of(config, m)], place.device) for m in config.methods)
    return replace(config, batch_size=config.batch_size or usual), place


def main(config: Communication) -> None:
    """Measure on all ranks; the first prints the table and writes the record."""
    # Warnings about deprecated names.
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module="open_clip.loss|torch.distributed"
    )
    config, place = resolve(config)
    step = f"{config.model}-b{config.batch_size}-{config.precision}-{config.parallel}"
    name = f"{step}-n{place.world_size}-{build_name(place.device.type)}"
    record = Record(config.out / f"{name}.json", kind=result.Communication, config=config)
    with record if place.is_main else nullcontext():
        record.shown_as = shown(config.methods)
        measured = _measure_all(config, place, record)
        record.notes += _notes(config, place)
    if place.is_main:
        print_tables(communication_tables(measured))
        if link := measured.measured.link:
            print(f"all-reduce fits {link.latency_us:.0f} us and {link.gb_s:.2f} GB/s")
        print(f"wrote {record.path}")


def _measure_all(config: Communication, place: Place, record: Record) -> Run[result.Communication]:
    try:
        measured = result.Communication(
            world_size=place.world_size,
            backend=dist.get_backend(),
            parallel=config.parallel,
            methods={},
            link=exchange_time.measure_link(config.num_steps, place),
        )
        bar = progress(
            config.methods,
            desc=f"communication {config.model}",
            disable=config.quiet or not place.is_main,
        )
        for method in bar:
            factors = factors_of(config, method)
            if short := _short_of(factors, place):
                record.notes.append(f"{method} was left out: {short}")
                continue
            measured.methods[method], samples = exchange_time.measure(
                factors, place, warmup=config.num_warmup, rounds=config.num_steps
            )
            record.samples |= {f"{method}_{name}": taken for name, taken in samples.items()}
            record.metrics = measured.metrics()
            record.save()
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise InputError(
            f"rank {place.rank} lost another rank, see its messages; start again ({reason})"
        ) from error
    return record.measured(measured)


def _short_of(factors: Factors, place: Place) -> str:
    """Why the step does not fit on a rank's GPU: "X GiB do not fit Y", the same on all ranks; empty
    if it fits.
    """
    if place.device.type == "cpu":
        return ""
    needed = device_bytes(factors, place.world_size)
    room = min(of_all_ranks(torch.cuda.get_device_properties(place.device).total_memory))
    return f"{needed / GIB:.0f} GiB do not fit {room / GIB:.0f}" if needed > room else ""


def _notes(config: Communication, place: Place) -> list[str]:
    notes = [
        "mb is the size of a step's calls as nccl-tests counts it; sent_mb is what leaves a rank "
        "if each call runs round a ring",
        "in_step_ms includes waiting for the other ranks, and its steps are slowed by the profiler",
        "exposed_ms is for gradients and buffers, compared with a step under no_sync, which also "
        "does not copy them into buckets; blocking_ms, the bare time of everything else, is "
        "exposed too",
    ]
    if int(os.environ.get("GROUP_WORLD_SIZE", 1)) == 1:
        notes.append(
            "ranks on one machine share its cores and memory, so times say nothing about a network"
        )
    if place.device.type == "cpu":
        notes.append(
            "gloo: a reduce_scatter is an all_reduce inside, an all_to_all is a scatter from each "
            "rank, and all need the cores that the step computes on"
        )
    if config.parallel == "fsdp":
        notes.append(
            "fsdp cannot compute without its exchange, so what is exposed was not measured"
        )
    return notes


if __name__ == "__main__":
    run(Communication, main)
