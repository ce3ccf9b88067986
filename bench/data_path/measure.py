"""Times decoders and loaders over the same photographs, by processor time.

Each decoder takes the same bytes and the same numbers in [0, 1), so each gives the same crop. The
loader of open_clip draws its own.
"""

import gc
import importlib.util
import io
import itertools
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2 import functional as F

from bench.data_path import result
from bench.data_path.config import DataPathBench
from bench.measuring.statistics import ratio, summarise
from catlip.cli import InputError
from catlip.data.augment import Augmentation, crop_box, draws_at, random_crop
from catlip.data.decode import FORMATS, open_picture
from catlip.data.loader import DataPath
from catlip.data.sampler import ImageSize, SampleOrder, StepPlan
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand, write_shard
from catlip.data.starter.scenes import BACKGROUNDS
from catlip.program.progress import progress
from catlip.records.record import Record
from catlip.records.table import print_tables

Decoder = Callable[[bytes, NDArray[np.float64]], object]
AUGMENTATION = Augmentation()
SHARDS = 4  # so that each of a few workers of open_clip's loader has one
BATCH = 64
PASSES = 15  # over all photographs, of each loader in a round
LOADER_ROUNDS = 3
LOADER_NEEDS = ("open_clip", "open_clip_train", "webdataset")
# Newer versions of webdataset break open_clip_train.
INSTALL = ".venv/bin/pip install -e '.[clip]' 'webdataset>=0.2.5,<=0.2.86'"


def main(config: DataPathBench) -> None:
    """Measure, print, write the record."""
    images = read_images(config)
    photos = config.images.name if config.images else "shipped"
    path = config.out / f"{config.resolution}-{photos}.json"
    with Record(path, kind=result.DataPath, config=config) as record:
        run = record.finish(measure(config, images, record))
        record.notes.append(
            "seconds are of processor time, of all processes together; ours gives bytes, open_clip "
            "normalised floats"
        )
    print_tables([result.rates_table(run)])
    print(f"wrote {record.path}")


def measure(config: DataPathBench, images: list[bytes], record: Record) -> result.DataPath:
    """Images per second of processor time of each decoder and each loader, all in turns."""
    torch.set_num_threads(1)
    decoders = decoder_rates(config, images)
    loaders = loader_rates(config, images)
    ratios = {"ours/pillow": (decoders["ours"], decoders["pillow"])}
    for workers in config.workers:
        ours, other = f"ours, {workers} workers", f"open_clip, {workers} workers"
        if other in loaders:
            ratios[f"{ours}/{other}"] = (loaders[ours], loaders[other])
    has_peer = any(name.startswith("open_clip") for name in loaders)
    not_run = {} if has_peer else {"open_clip's loader": INSTALL}
    record.samples |= {f"{name}, images/s": rates for name, rates in (decoders | loaders).items()}
    width, height = np.mean([open_picture(encoded).size for encoded in images], axis=0).tolist()
    return result.DataPath(
        decoders={name: summarise(rates) for name, rates in decoders.items()},
        loaders={name: summarise(rates) for name, rates in loaders.items()},
        ratios={pair: ratio(*rates) for pair, rates in ratios.items()},
        images=result.Images(count=len(images), mean_width=width, mean_height=height),
        not_run=not_run,
    )


def read_images(config: DataPathBench) -> list[bytes]:
    """The encoded images. Raises: InputError for too few of them."""
    files = sorted((config.images or BACKGROUNDS).rglob("*"))
    paths = [path for path in files if path.suffix.lower() in (".jpg", ".jpeg")]
    if len(paths) < SHARDS:
        raise InputError(
            f"{len(paths)} photographs (.jpg, .jpeg) in {config.images}; give at least {SHARDS}"
        )
    again = itertools.islice(itertools.cycle(paths), max(SHARDS, config.num_images))
    return [path.read_bytes() for path in again]


def decoder_rates(config: DataPathBench, images: list[bytes]) -> dict[str, list[float]]:
    """Decoder -> images per second in each round; one round before them is not counted."""
    draws = draws_at(0, 0, len(images))
    timed: dict[str, Decoder] = {
        "ours": partial(our_decoder, resolution=config.resolution),
        "pillow": partial(pillow, resolution=config.resolution),
    }
    rates: dict[str, list[float]] = {name: [] for name in timed}
    rounds = range(config.rounds + 1)
    for number in progress(rounds, "decoding", unit="round", disable=config.quiet):
        for name, decode in timed.items():
            start = time.process_time()
            for encoded, numbers in zip(images, draws, strict=True):
                decode(encoded, numbers)
            if number:
                rates[name].append(len(images) / (time.process_time() - start))
    return rates


def loader_rates(config: DataPathBench, images: list[bytes]) -> dict[str, list[float]]:
    """Loader and workers -> images per second in each round."""
    timed = {"ours": our_loader}
    if all(importlib.util.find_spec(module) for module in LOADER_NEEDS):
        timed["open_clip"] = open_clip_loader
    num_batches = max(1, PASSES * len(images) // BATCH)
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CATLIP_CACHE"] = f"{folder}/cache"  # what is cached here is of no use later
        for shard in range(SHARDS):
            samples = (
                (f"{i:06d}", {"jpg": images[i], "txt": b"a photograph"})
                for i in range(shard, len(images), SHARDS)
            )
            write_shard(Path(folder, "shards", f"{shard}.tar"), samples)
        rounds = range(min(config.rounds, LOADER_ROUNDS))
        for _, workers, name in itertools.product(rounds, config.workers, timed):
            row = f"{name}, {workers} workers"
            load = partial(timed[name], f"{folder}/shards", config.resolution, num_batches, workers)
            rates.setdefault(row, []).append(images_per_s(load, row, quiet=config.quiet))
    return rates


def images_per_s(load: Callable[[], Iterator[object]], title: str, quiet: bool) -> float:
    """Images per second of processor time, this process's and its workers'."""

    def processor_s() -> float:
        usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    gc.freeze()  # the collection below need not look at what was there before
    start, count = processor_s(), 0
    batches = load()
    for _ in progress(batches, title, unit="batch", leave=False, disable=quiet):
        count += BATCH
    del batches
    gc.collect()  # ends the workers, and their time counts from then on
    gc.unfreeze()
    return count / (processor_s() - start)


def our_loader(
    folder: str, resolution: int, num_batches: int, num_workers: int
) -> Iterator[object]:
    """Batches of bytes, as training gets them; images only."""
    shards = open_shards(expand(folder), quiet=True)
    plan = StepPlan([ImageSize(resolution, BATCH)], 1, num_batches, seed=0)
    order = SampleOrder(shards.counts, 0)
    # Every pass decodes: what is measured stands for a data set of many more images.
    data = DataPath(shards, order, plan, augmentation=AUGMENTATION, seed=0, decoded_bytes=0)
    return data.batches(0, num_workers)


def open_clip_loader(
    folder: str, resolution: int, num_batches: int, num_workers: int
) -> Iterator[object]:
    """open_clip_train's data loader with its training transform; captions are not tokenized."""
    transform = import_module("open_clip").image_transform(resolution, is_train=True)
    arguments = SimpleNamespace(
        train_data=f"{folder}/{{0..{SHARDS - 1}}}.tar",
        train_data_upsampling_factors=None,
        train_num_samples=num_batches * BATCH,
        dataset_resampled=True,
        batch_size=BATCH,
        workers=num_workers,
        world_size=1,
        seed=0,
    )
    info = import_module("open_clip_train.data").get_wds_dataset(
        arguments, transform, is_train=True, tokenizer=lambda caption: torch.zeros(1, 77)
    )
    return iter(info.dataloader)


def our_decoder(encoded: bytes, draws: NDArray[np.float64], resolution: int) -> NDArray[np.uint8]:
    return random_crop(encoded, resolution, AUGMENTATION, draws=draws)


def pillow(encoded: bytes, draws: NDArray[np.float64], resolution: int) -> NDArray[np.uint8]:
    """Pillow decodes the whole picture; torchvision crops, as in most training code."""
    image: Any = Image.open(io.BytesIO(encoded), formats=FORMATS).convert("RGB")
    width, height = image.size
    left, top, right, bottom = crop_box(width, height, AUGMENTATION, draws=draws)
    size = [resolution, resolution]
    image = F.resized_crop(image, top, left, bottom - top, right - left, size, antialias=True)
    if draws[-1] < AUGMENTATION.flip:
        image = F.horizontal_flip(image)
    return np.asarray(image)
