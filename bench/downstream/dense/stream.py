"""Which images a rank sees, and when, as positions in an endless stream of epochs.

The stream is the same for any number of ranks and workers. The random numbers for an image come
from a seed given by its position, so a run that is stopped and resumed sees the same images.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from torch.utils.data import Sampler

from catlip.training.distributed import Place, of_all_ranks, rank_of_ranks

T = TypeVar("T")

# What Pillow raises for a file that it cannot read.
UNREADABLE = (OSError, ValueError, SyntaxError)


class Positions(Sampler[int]):
    """The positions that one rank sees, micro-batch after micro-batch.

    Micro-batches are numbered over the run, and a rank takes every `world_size`-th. So each
    micro-batch has the same images on any number of devices that share the global batch.

    Args:
        micro_batch: images per micro-batch.
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
        """Leave out the first `num_samples` images of this rank; mmengine calls this method when it
        resumes.
        """
        self.micro_batches = self.micro_batches[num_samples // self.micro_batch :]


def look_at_all(look: Callable[[int], T], count: int) -> list[T]:
    """The results of `look` for the numbers below `count`; several are computed at a time.

    Each rank does its part, and all ranks get all results.
    """
    rank, ranks = rank_of_ranks()
    with ThreadPoolExecutor() as pool:
        mine = list(pool.map(look, range(rank, count, ranks)))
    parts = of_all_ranks(mine)
    return [parts[number % ranks][number // ranks] for number in range(count)]
