"""What a training step costs: forward, backward and optimizer of each method, interleaved in one process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bench import methods
from bench.statistics import ratio, summarise
from bench.training_step import PHASES, Factors, TrainingStep
from catlip.cli import InputError, choose, run
from catlip.encoder import ENCODERS
from catlip.record import Record
from catlip.training.distributed import Place, find_place
from catlip.training.schedule import PRECISIONS


@dataclass(frozen=True)
class StepTime:
    """Time one training step of each method, interleaved, and compare.

    python -m bench.step_time --model vit_b16
    python -m bench.step_time --model vit_l16 --batch-size 128 --precision bf16 --device cuda
    """

    model: str = "vit_b16"
    """Image encoder, one of catlip.encoder.ENCODERS."""
    methods: tuple[str, ...] = ("catlip", "clip")
    """What to time; the first is the denominator of every ratio."""
    batch_size: int = 0
    """Images per step; 0 for 256 on a GPU and 4 on a CPU."""
    resolution: int = 224
    """Image side in pixels."""
    num_classes: int = 24_320
    """Size of CatLIP's vocabulary; the paper's is 24,320."""
    precision: str = ""
    """fp32, bf16 or fp16; by default bf16 on a GPU and fp32 on a CPU."""
    num_steps: int = 0
    """Timed steps of each method; 0 for 50 on a GPU and 8 on a CPU."""
    num_warmup: int = 0
    """Steps of each method before those, not counted; 0 for 10 on a GPU and 2 on a CPU."""
    seed: int = 0
    """Seed of the weights and of the synthetic batch."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    out: Path = Path("runs/bench/step_time")
    """Folder for the record, named by model, batch, precision, torch and device."""
    quiet: bool = False
    """No progress bar."""


def measure(config: StepTime, place: Place) -> tuple[dict[str, list[list[float]]], dict[str, int]]:
    """Each method's timed steps, [num_steps][phase] milliseconds, taken in turns; and its number of parameters."""
    shared = (config.model, config.resolution, config.batch_size, config.precision)
    steps = {
        method: TrainingStep(Factors(method, *shared, num_classes=config.num_classes, seed=config.seed), place)
        for method in config.methods
    }
    batch = steps[config.methods[0]].batch()
    laps: dict[str, list[list[float]]] = {method: [] for method in config.methods}
    rounds = range(config.num_warmup + config.num_steps)
    for number in tqdm(rounds, desc=f"step_time {config.model}", unit="round", disable=config.quiet):
        for method, step in steps.items():
            lap = step(batch).laps_ms()
            if number >= config.num_warmup:
                laps[method].append(lap)
    return laps, {
        method: sum(p.numel() for p in objective.parameters())
        for method, objective in ((m, step.objective) for m, step in steps.items())
    }


def resolve(config: StepTime, device: torch.device) -> StepTime:
    """The config with every default that depends on the device filled in. Raises: InputError for an unknown name."""
    choose("encoder", config.model, ENCODERS)
    for method in config.methods:
        choose("method", method, methods.METHODS)
    gpu = device.type == "cuda"
    precision = config.precision or ("bf16" if gpu else "fp32")
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    return StepTime(
        **vars(config)
        | {
            "precision": precision,
            "batch_size": config.batch_size or (256 if gpu else 4),
            "num_steps": config.num_steps or (50 if gpu else 8),
            "num_warmup": config.num_warmup or (10 if gpu else 2),
        }
    )


def main(config: StepTime) -> None:
    """Measure, compare, print, write the record."""
    place = find_place(config.device)
    config = resolve(config, place.device)
    torch_version = torch.__version__.split("+")[0]
    name = f"{config.model}-b{config.batch_size}-{config.precision}-torch{torch_version}-{place.device.type}"
    with Record(config.out / f"{name}.json", kind="step_time", config=config) as record:
        laps, parameters = measure(config, place)
        totals = {method: [sum(lap) for lap in taken] for method, taken in laps.items()}
        first = config.methods[0]
        record.metrics = {
            "methods": {m: _summary(config.batch_size, parameters[m], laps[m], totals[m]) for m in config.methods},
            "ratios": {f"{m}/{first}": ratio(totals[m], totals[first]) for m in config.methods[1:]},
        }
        record.samples = {f"{m}_{phase}_ms": [lap[i] for lap in laps[m]] for m in laps for i, phase in enumerate(PHASES)}
        record.samples |= {f"{method}_total_ms": taken for method, taken in totals.items()}
        record.notes.append("synthetic images already on the device: no data loading; no communication between devices")
        print(_table(config, record))
    print(f"wrote {record.path}")


def _summary(batch_size: int, parameters: int, laps: list[list[float]], totals: list[float]) -> dict[str, Any]:
    phases = {f"{phase}_ms": summarise([lap[i] for lap in laps]) for i, phase in enumerate(PHASES)}
    total = summarise(totals)
    return {"total_ms": total, **phases, "images_per_s": batch_size / total["median"] * 1e3, "parameters": parameters}


def _table(config: StepTime, record: Record) -> str:
    device = record.environment["device"]
    lines = [f"{config.model}, batch {config.batch_size}, {config.resolution} px, {config.precision}, {device}"]
    lines.append(
        f"{'':8} {'total ms [p5, p95]':>28} {'forward':>9} {'loss':>9} {'backward':>9} {'optimizer':>9} {'images/s':>9}"
    )
    for method, found in record.metrics["methods"].items():
        total = found["total_ms"]
        spread = f"{total['median']:.1f} [{total['p5']:.1f}, {total['p95']:.1f}]"
        phases = " ".join(f"{found[f'{phase}_ms']['median']:9.1f}" for phase in PHASES)
        lines.append(f"{method:8} {spread:>28} {phases} {found['images_per_s']:9.1f}")
    for pair, found in record.metrics["ratios"].items():
        lines.append(f"{pair} = {found['value']:.2f}  (95 % interval {found['low']:.2f} to {found['high']:.2f})")
    return "\n".join(lines)


if __name__ == "__main__":
    run(StepTime, main)
