"""How many images per second one core decodes, crops and batches: this project's code and other
libraries, on the same photographs in turns.
"""

import importlib.util
import itertools
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bench.data_path import result
from bench.data_path.result import data_path_tables
from bench.images.decoders import PEERS, Decoder, ours, whole_decodes
from bench.images.link import measure_remote
from bench.images.loaders import LOADERS, SHARDS, time_loader, write_shards
from bench.images.planning import plan_epoch
from bench.measuring.statistics import ratio, summarise
from bench.photographs import cut, shipped_photographs
from catlip.cli import InputError, choose, run
from catlip.data.augment import draws_at
from catlip.data.decode import open_picture
from catlip.program.progress import progress
from catlip.program.ranges import Count, Natural, Positive
from catlip.record import Record
from catlip.table import print_tables

LOADER_NEEDS = {"open_clip": ("open_clip", "open_clip_train", "webdataset")}
REMOTE_NEEDS = ("fsspec", "aiohttp")
# Newer versions of webdataset break open_clip_train.
INSTALL = {
    "open_clip": "pip install 'catlip-bench[clip]' 'webdataset>=0.2.5,<=0.2.86'",
    "torchvision": "torchvision 0.29 or older, whose successor for images is torchcodec",
    "torchcodec": "pip install 'torchcodec>=0.16'",
    "spdl": "pip install spdl; apt-get install ffmpeg",
}
# What a peer raises that is not installed, lacks a library of the system, or no longer decodes.
NO_DECODER = (ImportError, OSError, RuntimeError, AttributeError)


@dataclass(frozen=True)
class DataPathBench:
    """Count the images per second of one core: decoding with a random resized crop, and the whole
    loader.

    python -m bench.data_path
    python -m bench.data_path --images runs/photographs --peers pillow torchvision --plan
    python -m bench.data_path --remote --link-mb-s 100 --loader-rounds 6
    """

    images: Path | None = None
    """Folder of JPEG photographs, taken as they are; by default cut from those that this project
    ships (bench.photographs).
    """
    num_images: Count = 128
    """Number of photographs; of a folder, the first ones."""
    peers: tuple[str, ...] = tuple(PEERS)
    """Libraries to compare with; the record names those that are not installed."""
    resolution: Count = 224
    """Side of the crops in pixels."""
    rounds: Count = 9
    """Rounds over all photographs; each takes every decoder in turn."""
    workers: tuple[Natural, ...] = (0, 1, 2)
    """Numbers of worker processes of the loaders; with 0, the main process decodes."""
    batch_size: Count = 64
    """Images per batch of the loaders."""
    num_batches: Count = 30
    """Batches that each loader makes per round."""
    loader_rounds: Count = 3
    """Rounds of the loaders."""
    plan: bool = False
    """Also plan an epoch of 1.3 billion samples in 130,000 shards."""
    remote: bool = False
    """Also read shards through a link of limited rate, a server on this machine, with an empty
    cache and with a full one; takes some 15 seconds for each round of the loaders.
    """
    link_mb_s: Positive = 20
    """Rate of that link in 1e6 bytes a second."""
    out: Path = Path("runs/bench/data_path")
    """Folder for the record, named by resolution and photographs."""
    quiet: bool = False
    """No progress bar."""


def photographs(config: DataPathBench) -> list[bytes]:
    """The encoded images. Raises: InputError when there are too few."""
    if config.images is None:
        pictures = cut(shipped_photographs(), config.num_images, seed=0)
    else:
        paths = sorted(
            path for path in config.images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")
        )
        pictures = [path.read_bytes() for path in paths[: config.num_images]]
    if len(pictures) < SHARDS:
        raise InputError(
            f"{len(pictures)} photographs (.jpg, .jpeg) in {config.images or 'all'}; give at least "
            f"{SHARDS}"
        )
    return pictures


def measure_decoders(
    decoders: dict[str, Decoder], images: list[bytes], rounds: int, quiet: bool
) -> dict[str, list[float]]:
    """Milliseconds of processor time per image, one value per decoder and round; one round before
    them is not counted.
    """
    draws = draws_at(0, 0, len(images))
    milliseconds: dict[str, list[float]] = {name: [] for name in decoders}
    for number in progress(range(rounds + 1), "decoding", unit="round", disable=quiet):
        for name, decode in decoders.items():
            start = time.process_time()
            for encoded, numbers in zip(images, draws, strict=True):
                decode(encoded, numbers)
            if number:
                milliseconds[name].append((time.process_time() - start) / len(images) * 1e3)
    return milliseconds


def pixel_difference(decode: Decoder, peer: Decoder, images: list[bytes]) -> result.PixelDifference:
    """Mean and greatest absolute difference of two decoders' crops, in grey levels of 0 to 255."""
    gaps = []
    for given in zip(images, draws_at(0, 0, len(images)), strict=True):
        one, other = (np.asarray(each(*given), dtype=np.int16) for each in (decode, peer))
        gaps.append(np.abs(one - other))
    return result.PixelDifference(
        mean=float(np.mean([gap.mean() for gap in gaps])),
        max=float(max(gap.max() for gap in gaps)),
    )


def measure_loaders(
    config: DataPathBench, names: list[str], folder: Path
) -> tuple[dict[str, list[float]], dict[str, result.WorkerMemory]]:
    """Images per second of one core for each loader and number of workers, one value per round; and
    the MiB of the workers of this project's loader.
    """
    rates: dict[str, list[float]] = {}
    memory: dict[str, result.WorkerMemory] = {}
    for _, workers, name in itertools.product(range(config.loader_rounds), config.workers, names):
        row = f"{name}, {workers} workers"
        batches = LOADERS[name](
            str(folder), config.resolution, config.batch_size, config.num_batches, workers
        )
        rate, mib = time_loader(batches, config.batch_size, row, quiet=config.quiet)
        rates.setdefault(row, []).append(rate)
        if name == "ours" and workers:
            memory[row] = result.WorkerMemory(workers_mib_start=mib[0], workers_mib_end=mib[-1])
    return rates, memory


def main(config: DataPathBench) -> None:
    """Measure, compare, print, write the record."""
    for name in config.peers:
        choose("peer", name, PEERS)
    if config.remote and not _installed(REMOTE_NEEDS):
        raise InputError("--remote needs other packages: pip install 'catlip-bench[remote]'")
    torch.set_num_threads(1)
    images = photographs(config)
    photos = config.images.name if config.images else "shipped"
    path = config.out / f"{config.resolution}-{photos}.json"
    with (
        Record(path, kind=result.DataPath, config=config) as record,
        tempfile.TemporaryDirectory() as folder,
    ):
        os.environ["CATLIP_CACHE"] = f"{folder}/cache"  # what is cached here is of no use later
        decoders = _decoders(config, images, record)
        record.metrics = decoders.metrics()
        record.save()
        loaders = _loaders(config, images, Path(folder, "shards"), decoders=decoders, record=record)
        record.metrics = loaders.metrics()
        record.save()
        remote = None
        if config.remote:
            remote = _remote(config, images, Path(folder, "remote"), record=record)
        plan = None
        if config.plan:
            Path(folder, "plan").mkdir()
            plan = plan_epoch(Path(folder, "plan"))
        record.notes.append(
            "seconds are of processor time, of all processes together; ours gives bytes, open_clip "
            "normalised floats"
        )
        measured = record.measured(replace(loaders, remote=remote, plan=plan))
    print_tables(data_path_tables(measured))
    for peer, gap in measured.measured.pixel_difference.items():
        print(
            f"pixels of ours and {peer}: {gap.mean:.3f} grey levels apart on average, "
            f"{gap.max:.0f} at most"
        )
    print(f"wrote {record.path}")


def _decoders(config: DataPathBench, images: list[bytes], record: Record) -> result.DataPath:
    """Measure the decoders; what belongs to loaders stays empty."""
    decoders = {"ours": ours(config.resolution)}
    for name in config.peers:
        with suppress(*NO_DECODER):
            decode = PEERS[name](config.resolution)
            decode(images[0], draws_at(0, 0, 1)[0])
            decoders[name] = decode
    peers = [name for name in config.peers if name in decoders]
    taken = measure_decoders(
        decoders | whole_decodes(peers), images, config.rounds, quiet=config.quiet
    )
    record.samples |= {f"{name}_ms": values for name, values in taken.items()}
    rates = {name: [1e3 / ms for ms in values] for name, values in taken.items()}
    others = {name: values for name, values in taken.items() if name != "ours"}
    same = [name for name in peers if name != "open_clip"]  # open_clip draws a crop of its own
    return result.DataPath(
        decoders={name: summarise(values) for name, values in rates.items()},
        loaders={},
        ratios={f"ours/{name}": ratio(values, taken["ours"]) for name, values in others.items()},
        pixel_difference={
            name: pixel_difference(decoders["ours"], decoders[name], images) for name in same
        },
        memory={},
        images=_describe(images),
        not_run={name: INSTALL[name] for name in config.peers if name not in peers},
    )


def _loaders(
    config: DataPathBench,
    images: list[bytes],
    folder: Path,
    *,
    decoders: result.DataPath,
    record: Record,
) -> result.DataPath:
    """Measure the loaders, and add them to what was measured of decoders."""
    write_shards(images, folder)
    peers = [name for name in config.peers if name in LOADERS]
    ready = [name for name in peers if _installed(LOADER_NEEDS[name])]
    rates, memory = measure_loaders(config, ["ours", *ready], folder)
    record.samples |= {f"{row}, images/s": values for row, values in rates.items()}
    ratios = {}
    for workers, name in itertools.product(config.workers, ready):
        row, other = f"ours, {workers} workers", f"{name}, {workers} workers"
        ratios[f"{row}/{other}"] = ratio(rates[row], rates[other])
    missing = {f"{name}'s loader": INSTALL[name] for name in peers if name not in ready}
    return replace(
        decoders,
        loaders={row: summarise(values) for row, values in rates.items()},
        ratios=decoders.ratios | ratios,
        memory=memory,
        not_run=decoders.not_run | missing,
    )


def _remote(
    config: DataPathBench, images: list[bytes], folder: Path, record: Record
) -> result.RemoteShards:
    measured, samples = measure_remote(
        images,
        folder,
        config.link_mb_s,
        size=(config.resolution, config.batch_size),
        rounds=config.loader_rounds,
        quiet=config.quiet,
    )
    record.samples |= {f"remote: {name}": values for name, values in samples.items()}
    return measured


def _installed(modules: tuple[str, ...]) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


def _describe(images: list[bytes]) -> result.Images:
    width, height = np.mean([open_picture(encoded).size for encoded in images], axis=0).tolist()
    kib = sum(map(len, images)) / len(images) / 2**10
    return result.Images(count=len(images), mean_width=width, mean_height=height, mean_kib=kib)


if __name__ == "__main__":
    run(DataPathBench, main)
