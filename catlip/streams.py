"""Every random stream of a run, by name. Its random numbers depend on the run's seed, the stream,
and what they are for: an epoch, a step or a position.

Never change the number of a stream: the same command would then give other results. Weights, heads
and the batches of a linear probe use the seed itself.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

SAMPLE_ORDER = 1
IMAGE_SIZES = 2
CROPS = 3
SUBSETS = 4
OBJECTIVE = 5  # dropped paths, and whatever else an objective draws in a step
DETECTION_CROPS = 7
SEGMENTATION_CROPS = 9
CAPTIONS = 12  # which of several captions a sample has in an epoch
RETRIEVAL = 14  # images that are searched, of more


def generator(seed: int, stream: int, *numbers: int) -> np.random.Generator:
    return np.random.default_rng([seed, stream, *numbers])


def seed_at(seed: int, stream: int, *numbers: int, bits: Literal[32, 64] = 32) -> int:
    """A seed for other generators, such as torch's and NumPy's global ones."""
    state = np.random.SeedSequence([seed, stream, *numbers])
    return int(state.generate_state(1, np.uint64 if bits == 64 else np.uint32)[0])


def mark_random_state(device: "torch.device") -> Callable[[], None]:
    """A function that takes torch's random numbers, on the CPU and on this device, back to here."""
    import torch  # most of this module's users do without it

    cpu = torch.get_rng_state()
    gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def go_back() -> None:
        torch.set_rng_state(cpu)
        if gpu is not None:
            torch.cuda.set_rng_state(gpu, device)

    return go_back
