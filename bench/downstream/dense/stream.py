"""Which images a rank sees when, as positions in an endless stream of epochs: the same for any
number of ranks and workers.

What is random about an image is drawn from a seed that its position gives, so a run that is stopped
and resumed sees the same.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch.distributed as dist
from torch.utils.data import Sampler

from catlip.training.distributed import Place, of_all_ranks

T = TypeVar("T")


class Positions(Sampler[int]):
    """The positions that one rank sees, micro-batch after micro-batch.

    Micro-batches are numbered over the run, and a rank takes every `world_size`-th: their images
    are the same on any number of devices that the global batch is spread over.

    Args:
        micro_batch: images of each.
        micro_steps: micro-batches of this rank in the whole run.
    """

    def __init__(self, micro_batch: int, micro_steps: int, place: Place):
        self.micro_batch = micro_batch
        self.micro_batches = range(place.rank, micro_steps * place.world_size, place.world_size)

    def __iter__(self) -> Iterator[int]:
        for number in self.micro_batches:
            yield from range(number * self.micro_batch, (number + 1) * self.micro_batch)

    def __len__(self) -> int:
        return len(self.micro_batches) * self.micro_batch

    def skip(self, num_samples: int) -> None:
        """Go on after so many images of this rank; mmengine asks for it by this name when it
        resumes.
        """
        self.micro_batches = self.micro_batches[num_samples // self.micro_batch :]


def look_at_all(look: Callable[[int], T], count: int) -> list[T]:
    """`look` at each of so many files, several at a time; each rank takes its part of them, and all
    get everything.
    """
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    with ThreadPoolExecutor() as pool:
        mine = list(pool.map(look, range(rank, count, ranks)))
    parts = of_all_ranks(mine)
    return [parts[number % ranks][number // ranks] for number in range(count)]
