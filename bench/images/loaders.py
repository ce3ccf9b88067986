"""From shards to batches: this project's loader, and open_clip's own WebDataset pipeline, over the
same files.
"""

import gc
import importlib
import multiprocessing
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import torch

from bench.images.decoders import AUGMENTATION
from catlip.data.loader import DataPath
from catlip.data.sampler import ImageSize, SampleOrder, StepPlan
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand, write_shard
from catlip.program.progress import progress

SHARDS = 4  # so that each of a few workers of open_clip's loader has one

Loader = Callable[[str, int, int, int, int], Iterator[object]]


def write_shards(images: list[bytes], folder: Path, count: int = SHARDS) -> None:
    """Write the images to `count` tars, each image with a caption."""
    for number in range(count):
        chosen = range(number, len(images), count)
        write_shard(
            folder / f"{number}.tar",
            ((f"{i:06d}", {"jpg": images[i], "txt": b"a photograph"}) for i in chosen),
        )


def ours(
    place: str, resolution: int, batch: int, num_batches: int, num_workers: int
) -> Iterator[object]:
    """Batches of bytes, as training gets them; images only.

    Args:
        place: a folder of shards, or their URLs.
    """
    shards = open_shards(expand(place), quiet=True)
    plan = StepPlan([ImageSize(resolution, batch)], 1, num_batches, seed=0)
    return DataPath(
        shards, SampleOrder(shards.counts, 0), plan, augmentation=AUGMENTATION, seed=0
    ).batches(0, num_workers)


def open_clip(
    folder: str, resolution: int, batch: int, num_batches: int, num_workers: int
) -> Iterator[object]:
    """open_clip_train's data loader with its training transform; captions are not tokenized."""
    transform = importlib.import_module("open_clip").image_transform(resolution, is_train=True)
    arguments = SimpleNamespace(
        train_data=f"{folder}/{{0..{SHARDS - 1}}}.tar",
        train_data_upsampling_factors=None,
        train_num_samples=num_batches * batch,
        dataset_resampled=True,
        batch_size=batch,
        workers=num_workers,
        world_size=1,
        seed=0,
    )
    data = importlib.import_module("open_clip_train.data")
    info = data.get_wds_dataset(
        arguments, transform, is_train=True, tokenizer=lambda caption: torch.zeros(1, 77)
    )
    return iter(info.dataloader)


LOADERS: dict[str, Loader] = {"ours": ours, "open_clip": open_clip}


def time_loader(
    batches: Iterator[object], batch: int, title: str, quiet: bool
) -> tuple[float, list[list[float]]]:
    """Images per second of processor time, this process's and its workers'; and the MiB resident in
    each worker, by batch.
    """
    gc.freeze()  # the collection below need not look at what was there before
    memory, start = [], _processor_s()
    for _ in progress(batches, title, unit="batch", leave=False, disable=quiet):
        memory.append(_workers_mib())
    del batches
    gc.collect()  # ends the workers, and their time counts from then on
    return len(memory) * batch / (_processor_s() - start), memory


def _processor_s() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _workers_mib() -> list[float]:
    pages = (Path(f"/proc/{worker.pid}/statm") for worker in multiprocessing.active_children())
    return [
        int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        for path in pages
        if path.exists()
    ]
