"""Shards behind a link: a server on this machine that sends a limited number of bytes a second, and
how fast shards are read from it.
"""

import contextlib
import math
import multiprocessing
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.data_path import result
from bench.images.loaders import ours, time_loader, write_shards
from bench.measuring.statistics import ratio, summarise
from catlip.data.sampler import WINDOW_SHARDS
from catlip.program.progress import progress
from catlip.system.cache import cache_dir

LINK_S = 3  # seconds that all shards take through the link
NUM_SHARDS = 4 * WINDOW_SHARDS  # so that most are fetched while others are read
WORKERS = 1  # the default of a training


@contextlib.contextmanager
def served(folder: Path, bytes_per_s: float) -> Iterator[str]:
    """Serve the files of a folder from another process; yields their URL."""
    from bench.images.link_server import serve  # needs a package of the extra `remote`

    spawn = multiprocessing.get_context("spawn")
    port, its_port = spawn.Pipe(duplex=False)
    server = spawn.Process(target=serve, args=(folder, bytes_per_s, its_port), daemon=True)
    server.start()
    its_port.close()
    try:
        yield f"http://127.0.0.1:{port.recv()}"
    finally:
        server.terminate()
        server.join()


def measure_remote(
    images: list[bytes],
    folder: Path,
    link_mb_s: float,
    *,
    size: tuple[int, int],
    rounds: int,
    quiet: bool,
) -> tuple[result.RemoteShards, dict[str, list[float]]]:
    """Measure how fast shards behind a link are read, in turns with the same shards on a disk.
    Returns the metrics and the samples.

    Args:
        folder: for the shards; the images are repeated until the link takes LINK_S for them.
        size: side of the crops in pixels, images of a batch.
    """
    resolution, batch = size
    enough = LINK_S * link_mb_s * 1e6 / sum(map(len, images))
    repeated = images * math.ceil(max(enough, NUM_SHARDS / len(images)))
    write_shards(repeated, folder, NUM_SHARDS)
    megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    num_batches = len(repeated) // batch

    def read(place: str) -> Iterator[object]:
        return ours(place, resolution, batch, num_batches=num_batches, num_workers=WORKERS)

    def rate(place: str) -> float:
        return time_loader(read(place), batch, place, quiet=True)[0]

    def megabytes_a_second(place: str) -> float:
        begin = time.perf_counter()
        for _ in read(place):
            pass
        return megabytes / (time.perf_counter() - begin)

    samples: dict[str, list[float]] = {"link": [], "cold": [], "local": [], "warm": []}
    with served(folder, link_mb_s * 1e6) as url:
        remote = f"{url}/{{0..{NUM_SHARDS - 1}}}.tar"
        read(remote)  # fetches all of them once, to count their samples
        for _ in progress(range(rounds), "remote shards", unit="round", disable=quiet):
            samples["link"].append(megabytes / _download_s(folder, url))
            shutil.rmtree(cache_dir("shards"))
            samples["cold"].append(megabytes_a_second(remote))
            samples["local"].append(rate(str(folder)))
            samples["warm"].append(rate(remote))
    measured = result.RemoteShards(
        megabytes=megabytes,
        link_mb_s=summarise(samples["link"]),
        cold_mb_s=summarise(samples["cold"]),
        cold_to_link=ratio(samples["cold"], samples["link"]),
        warm_to_local=ratio(samples["warm"], samples["local"]),
    )
    return measured, samples


def _download_s(folder: Path, url: str) -> float:
    """Seconds to get all files of the folder, one after the other, and keep none."""
    begin = time.perf_counter()
    for path in folder.iterdir():
        with urllib.request.urlopen(f"{url}/{path.name}") as response:
            while response.read(2**20):
                pass
    return time.perf_counter() - begin
