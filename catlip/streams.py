"""Every random stream of a run, by name. Its random numbers depend on the run's seed, the stream,
and what they are for: an epoch, a step or a position.

Never change the number of a stream: the same command would then give other results. Weights, heads
and the batches of a linear probe use the seed itself.
"""

from typing import Literal

import numpy as np

SAMPLE_ORDER = 1
IMAGE_SIZES = 2
CROPS = 3
SUBSETS = 4
OBJECTIVE = 5  # dropped paths, and whatever else an objective draws in a step
DETECTION_CROPS = 7
DETECTION_OBJECTIVE = 8
SEGMENTATION_CROPS = 9
SEGMENTATION_OBJECTIVE = 10
NOISE = 11  # in captions
CAPTIONS = 12  # which of several captions a sample has in an epoch
GALLERY = 13  # images that are shown
RETRIEVAL = 14  # images that are searched, of more


def generator(seed: int, stream: int, *numbers: int) -> np.random.Generator:
    return np.random.default_rng([seed, stream, *numbers])


def seed_at(seed: int, stream: int, *numbers: int, bits: Literal[32, 64] = 32) -> int:
    """A seed for other generators, such as torch's and NumPy's global ones."""
    state = np.random.SeedSequence([seed, stream, *numbers])
    return int(state.generate_state(1, np.uint64 if bits == 64 else np.uint32)[0])
