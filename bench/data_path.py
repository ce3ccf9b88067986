"""How many images a second one core decodes, crops and batches, ours and the field's, on the same
photographs in turns.
"""

import importlib.util
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.images.decoders import PEERS, Decoder, ours, whole_decodes
from bench.images.loaders import LOADERS, SHARDS, time_loader, write_shards
from bench.images.planning import plan_epoch
from bench.photographs import cut, shipped_photographs
from bench.statistics import ratio, summarise
from catlip.cli import InputError, choose, run
from catlip.data.augment import draws_at
from catlip.data.decode import open_picture
from catlip.kinds import Interval
from catlip.program.progress import progress
from catlip.program.ranges import Count, Natural
from catlip.record import Record

NEEDS = {"open_clip": ("open_clip",)}  # modules of peers that are no dependency of ours
LOADER_NEEDS = {"open_clip": ("open_clip", "open_clip_train", "webdataset")}
INSTALL = {
    "open_clip": "pip install 'catlip-bench[clip]' 'webdataset>=0.2.5,<=0.2.86'"
}  # newer ones break open_clip_train


@dataclass(frozen=True)
class DataPathBench:
    """Count the images per second of one core: decoding with a random resized crop, and the whole
    loader.

    python -m bench.data_path
    python -m bench.data_path --images runs/photographs --peers pillow torchvision --plan
    """

    images: Path | None = None
    """Folder of JPEG photographs, taken as they are; by default cut from those that this project
    ships (bench.photographs).
    """
    num_images: Count = 128
    """Photographs; of a folder, the first so many."""
    peers: tuple[str, ...] = ("pillow", "torchvision", "open_clip")
    """Whom to compare with."""
    resolution: Count = 224
    """Side of the crops in pixels."""
    rounds: Count = 9
    """Rounds over all photographs; each takes every decoder in turn."""
    workers: tuple[Natural, ...] = (0, 1, 2)
    """Worker processes of the loaders; without any, the main process decodes."""
    batch_size: Count = 64
    """Images per batch of the loaders."""
    num_batches: Count = 30
    """Batches that each loader makes per round."""
    loader_rounds: Count = 3
    """Rounds of the loaders."""
    plan: bool = False
    """Also plan an epoch of 1.3 billion samples in 130,000 shards."""
    out: Path = Path("runs/bench/data_path")
    """Folder for the record, named by resolution and photographs."""
    quiet: bool = False
    """No progress bar."""


def photographs(config: DataPathBench) -> list[bytes]:
    """The encoded images. Raises: InputError when there are too few."""
    if config.images is None:
        found = cut(shipped_photographs(), config.num_images, seed=0)
    else:
        paths = sorted(
            path for path in config.images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")
        )
        found = [path.read_bytes() for path in paths[: config.num_images]]
    if len(found) < SHARDS:
        raise InputError(
            f"{len(found)} photographs (.jpg, .jpeg) in {config.images or 'all'}; give at least "
            f"{SHARDS}"
        )
    return found


def measure_decoders(
    decoders: dict[str, Decoder], images: list[bytes], rounds: int, quiet: bool
) -> dict[str, list[float]]:
    """Milliseconds of processor time per image, one value per decoder and round; a round before
    those is not counted.
    """
    draws = draws_at(0, 0, len(images))
    found: dict[str, list[float]] = {name: [] for name in decoders}
    for number in progress(range(rounds + 1), "decoding", unit="round", disable=quiet):
        for name, decode in decoders.items():
            start = time.process_time()
            for encoded, numbers in zip(images, draws, strict=True):
                decode(encoded, numbers)
            if number:
                found[name].append((time.process_time() - start) / len(images) * 1e3)
    return found


def pixel_difference(decode: Decoder, peer: Decoder, images: list[bytes]) -> dict[str, float]:
    """Mean and greatest absolute difference of two decoders' crops, in grey levels of 0 to 255."""
    draws = draws_at(0, 0, len(images))
    gaps = [_gaps(decode(*given), peer(*given)) for given in zip(images, draws, strict=True)]
    return {
        "mean": float(np.mean([gap.mean() for gap in gaps])),
        "max": float(max(gap.max() for gap in gaps)),
    }


def measure_loaders(
    config: DataPathBench, names: list[str], folder: Path
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Images per second of a core of each loader and number of workers, one value per round; and
    our workers' MiB.
    """
    found: dict[str, list[float]] = {}
    memory: dict[str, Any] = {}
    for _ in range(config.loader_rounds):
        for workers in config.workers:
            for name in names:
                row = f"{name}, {workers} workers"
                batches = LOADERS[name](
                    folder, config.resolution, config.batch_size, config.num_batches, workers
                )
                rate, mib = time_loader(batches, config.batch_size, row, config.quiet)
                found.setdefault(row, []).append(rate)
                if name == "ours" and workers:
                    memory[row] = {"workers_mib_start": mib[0], "workers_mib_end": mib[-1]}
    return found, memory


def main(config: DataPathBench) -> None:
    """Measure, compare, print, write the record."""
    for peer in config.peers:
        choose("peer", peer, PEERS)
    torch.set_num_threads(1)
    images = photographs(config)
    name = f"{config.resolution}-{config.images.name if config.images else 'shipped'}"
    with (
        Record(config.out / f"{name}.json", kind="data_path", config=config) as record,
        tempfile.TemporaryDirectory() as folder,
    ):
        os.environ["CATLIP_CACHE"] = f"{folder}/cache"  # what is measured here is of no use later
        _decoders(config, images, record)
        record.save()
        _loaders(config, images, Path(folder, "shards"), record)
        record.save()
        if config.plan:
            Path(folder, "plan").mkdir()
            record.metrics["plan"] = plan_epoch(Path(folder, "plan"))
        record.metrics["images"] = _describe(images)
        record.notes.append(
            "seconds are of processor time, of all processes together; ours gives bytes, open_clip "
            "normalised floats"
        )
        print(_table(config, record))
    print(f"wrote {record.path}")


def _decoders(config: DataPathBench, images: list[bytes], record: Record) -> None:
    peers = [peer for peer in config.peers if _installed(NEEDS.get(peer, ()))]
    decoders = {"ours": ours(config.resolution)} | {
        peer: PEERS[peer](config.resolution) for peer in peers
    }
    taken = measure_decoders(decoders | whole_decodes(peers), images, config.rounds, config.quiet)
    record.samples |= {f"{name}_ms": values for name, values in taken.items()}
    record.metrics["decoders"] = {
        name: summarise([1e3 / ms for ms in values]) for name, values in taken.items()
    }
    record.metrics["ratios"] = {
        f"ours/{name}": ratio(values, taken["ours"])
        for name, values in taken.items()
        if name != "ours"
    }
    same = [peer for peer in peers if peer != "open_clip"]  # which draws a crop of its own
    record.metrics["pixel_difference"] = {
        peer: pixel_difference(decoders["ours"], decoders[peer], images) for peer in same
    }
    record.metrics["not_run"] = {peer: INSTALL[peer] for peer in config.peers if peer not in peers}


def _loaders(config: DataPathBench, images: list[bytes], folder: Path, record: Record) -> None:
    write_shards(images, folder)
    peers = [peer for peer in config.peers if peer in LOADERS]
    ready = [peer for peer in peers if _installed(LOADER_NEEDS[peer])]
    rates, memory = measure_loaders(config, ["ours", *ready], folder)
    record.samples |= {f"{row}, images/s": values for row, values in rates.items()}
    record.metrics["loaders"] = {row: summarise(values) for row, values in rates.items()}
    for workers in config.workers:
        for peer in ready:
            row, other = f"ours, {workers} workers", f"{peer}, {workers} workers"
            record.metrics["ratios"][f"{row}/{other}"] = ratio(rates[row], rates[other])
    record.metrics["memory"] = memory
    record.metrics["not_run"] |= {
        f"{peer}'s loader": INSTALL[peer] for peer in peers if peer not in ready
    }


def _gaps(one: Any, other: Any) -> NDArray[np.int16]:
    return np.abs(np.asarray(one, dtype=np.int16) - np.asarray(other, dtype=np.int16))


def _installed(modules: tuple[str, ...]) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


def _describe(images: list[bytes]) -> dict[str, float]:
    width, height = np.mean([open_picture(encoded).size for encoded in images], axis=0).tolist()
    kib = sum(map(len, images)) / len(images) / 2**10
    return {"count": len(images), "mean_width": width, "mean_height": height, "mean_kib": kib}


def _table(config: DataPathBench, record: Record) -> str:
    metrics, images = record.metrics, record.metrics["images"]
    size = (
        f"{images['mean_width']:.0f} x {images['mean_height']:.0f} pixels and "
        f"{images['mean_kib']:.0f} KiB on average"
    )
    lines = [
        (
            f"{images['count']} photographs of {size}, crops of {config.resolution} px; "
            f"{record.environment['cpu']}"
        )
    ]
    lines.append(
        f"{'images/s of one core':24} {'median [p5, p95]':>26}   ours is so many times faster [95 "
        "% interval]"
    )
    for row, found in (metrics["decoders"] | metrics["loaders"]).items():
        spread = f"{found.median:.0f} [{found.p5:.0f}, {found.p95:.0f}]"
        faster = next(
            (value for pair, value in metrics["ratios"].items() if pair.endswith(f"/{row}")), None
        )
        lines.append(f"{row:24} {spread:>26}" + (f"   {_interval(faster)}" if faster else ""))
    for peer, found in metrics["pixel_difference"].items():
        lines.append(
            f"pixels of ours and {peer}: {found['mean']:.3f} grey levels apart on average, "
            f"{found['max']:.0f} at most"
        )
    for row, found in metrics["memory"].items():
        start, end = (
            ", ".join(f"{mib:.0f}" for mib in found[f"workers_mib_{when}"])
            for when in ("start", "end")
        )
        lines.append(
            f"resident in each worker of {row}: {start} MiB at the start, {end} after "
            f"{config.num_batches} batches"
        )
    if plan := metrics.get("plan"):
        first, middle = (
            (
                f"{plan[f'{where}_batch_s']:.2f} s to its {where} batch "
                f"({plan[f'{where}_batch_cpu_s']:.2f} of the processor)"
            )
            for where in ("first", "middle")
        )
        what = f"{plan['samples'] / 1e9:.2f} billion samples in {plan['shards']:,} shards"
        lines.append(f"planning an epoch of {what}: {first}, {middle}, {plan['peak_mib']:.0f} MiB")
    lines += [f"{peer}: not run; {command}" for peer, command in metrics["not_run"].items()]
    return "\n".join(lines)


def _interval(found: Interval) -> str:
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


if __name__ == "__main__":
    run(DataPathBench, main)
