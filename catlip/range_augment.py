"""RangeAugment: how strongly to augment is learnt (Mehta et al. 2022; the paper's Appendix A).

Brightness, contrast and noise each change a random half of a batch, by magnitudes drawn from a
range whose two ends are parameters. They follow the gradient of the objective and of a loss of
their own, which pulls the augmented images towards a target PSNR, from 40 dB down to 20 over
training.

Nothing here counts steps or holds a random state: the loop gives the progress, and seeds torch
before each micro-batch. So an image is augmented alike if the run is resumed, spread over other
ranks, or of another method, because these numbers are drawn first.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catlip.data.loader import Batch
from catlip.encoder import unit_range
from catlip.objective import Objective
from catlip.streams import mark_random_state

PEAK = 255.0**2  # PSNR and MSE refer to 8-bit pixels
ALPHA = 100.0  # weight of the PSNR loss, in the release's configurations
OBJECTIVE = "objective."  # how the names of the objective's parameters begin


# Operation -> the two ends of its magnitude's range: the least and the greatest value of each end,
# and the input of its sigmoid at the start. All are the release's.
BOUNDS = {
    "brightness": {"low": (0.1, 0.9, 0.5), "high": (1.1, 10.0, 1.5)},
    "contrast": {"low": (0.1, 0.9, 0.5), "high": (1.1, 10.0, 1.5)},
    "noise": {"low": (0.0, 5e-5, 0.0), "high": (1e-4, 1.0, 0.1)},
}


@dataclass(frozen=True)
class Draws:
    """The random numbers of one batch of B images, of which each operation changes n.

    Attributes:
        order: names of the operations, in the order in which they are applied.
        chosen: each operation's images, [n] int64.
        where: each operation's magnitudes, [n] in [0, 1): 0 is the low end of the range, 1 the
            high.
        noise: [n, 3, H, W].
    """

    order: list[str]
    chosen: dict[str, Tensor]
    where: dict[str, Tensor]
    noise: Tensor


def draw(images: Tensor) -> Draws:
    """The random numbers for half of `images` [B, 3, H, W] per operation, from their device's
    generator. Only the order, which the CPU needs, is drawn there: nothing waits for the device.
    """
    names, half = list(BOUNDS), max(1, len(images) // 2)
    order = [names[i] for i in torch.randperm(len(names), device="cpu").tolist()]
    chosen = {name: torch.randperm(len(images), device=images.device)[:half] for name in names}
    where = {name: torch.rand(half, device=images.device, dtype=images.dtype) for name in names}
    return Draws(order, chosen, where, noise=torch.randn_like(images[:half]))


class RangeAugment(nn.Module):
    """Changes brightness, contrast and noise by learnable ranges, whose six ends are 0-D
    parameters; in evaluation mode, nothing.

    Args:
        psnr: target in dB at the start and at the end of training; 40 to 10 for detection.
    Attributes:
        psnr_db: 0-D, of the last augmented batch; reading its value waits for the device.
    """

    def __init__(self, psnr: tuple[float, float] = (40.0, 20.0)):
        super().__init__()
        self.psnr = psnr
        self.low, self.high = (
            nn.ParameterDict(
                {name: nn.Parameter(torch.tensor(ends[end][2])) for name, ends in BOUNDS.items()}
            )
            for end in ("low", "high")
        )
        self.psnr_db = torch.tensor(math.nan)

    def forward(self, images: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """Augmented images [B, 3, H, W] in [0, 1], float32 or wider, in the memory layout of
        `images`, and the scalar loss of their distance from the target PSNR at `progress`, the
        fraction of the training steps that are done.
        """
        if not self.training:
            return images, torch.zeros((), device=images.device)
        images = unit_range(images)
        # At least float32: bfloat16 cannot represent all values of an 8-bit pixel.
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        # Augmenting makes NCHW of the loader's NHWC memory, in which convolutions are faster.
        augmented = torch.empty_like(images).copy_(self.augment(images, draw(images)))
        error = ((augmented - images) * 255).square().mean(dim=(1, 2, 3))
        self.psnr_db = 10 * torch.log10(PEAK / error.detach().mean())
        target = torch.full_like(error, target_mse(progress, *self.psnr))
        return augmented, ALPHA / PEAK * F.smooth_l1_loss(error, target)

    def augment(self, images: Tensor, draws: Draws) -> Tensor:
        ranges = self.ranges()
        for name in draws.order:
            low, high = ranges[name]["low"], ranges[name]["high"]
            magnitude = (low + (high - low) * draws.where[name])[:, None, None, None]
            chosen = draws.chosen[name]
            changed = images.index_select(0, chosen)
            if name == "brightness":
                changed = changed * magnitude
            elif name == "contrast":  # each channel away from its mean over the image, or to it
                mean = changed.mean(dim=(2, 3), keepdim=True)
                changed = (1 - magnitude) * mean + magnitude * changed
            else:
                changed = changed + magnitude * draws.noise
            images = images.index_copy(0, chosen, changed)
        return images.clamp(0, 1)

    def ranges(self) -> dict[str, dict[str, Tensor]]:
        ranges: dict[str, dict[str, Tensor]] = {name: {} for name in BOUNDS}
        for end, raw in (("low", self.low), ("high", self.high)):
            for name in BOUNDS:
                least, most, _ = BOUNDS[name][end]
                ranges[name][end] = least + (most - least) * torch.sigmoid(raw[name])
        return ranges


class AugmentedObjective(Objective):
    """Any objective on augmented images, with RangeAugment's loss added to its own."""

    def __init__(self, objective: Objective, range_augment: RangeAugment):
        super().__init__()
        self.objective = objective
        self.range_augment = range_augment
        self.name, self.label = objective.name, objective.label
        self.colour, self.marker = objective.colour, objective.marker
        self.needs, self.whole_step = objective.needs, objective.whole_step
        self.progress = 0.0

    @property
    def image_encoder(self) -> nn.Module:  # type: ignore[override]  # it is not to be replaced here
        return self.objective.image_encoder

    def set_progress(self, fraction: float) -> None:
        self.progress = fraction
        self.objective.set_progress(fraction)

    def forward(self, *batches: Batch) -> Tensor:
        """The loss of one batch, or of all batches of a step."""
        augmented, losses = [], []
        for batch in batches:
            if batch.go_to_random:
                batch.go_to_random()
            images, loss = self.range_augment(batch.images, self.progress)
            go_on = batch.go_to_random and mark_random_state(images.device)
            augmented.append(replace(batch, images=images, go_to_random=go_on))
            losses.append(loss)
        return self.objective(*augmented) + torch.stack(losses).mean()

    def lr_scale(self, name: str) -> float:
        """The objective's for its parameters; the ranges learn at the full rate."""
        bare = name.removeprefix(OBJECTIVE)
        return self.objective.lr_scale(bare) if bare != name else 1.0

    def decays(self, name: str) -> bool:
        return self.objective.decays(name.removeprefix(OBJECTIVE))

    def metrics(self) -> dict[str, Tensor]:
        """The last batch's PSNR, the ranges, and the objective's metrics, 0-D each."""
        metrics = {"psnr_db": self.range_augment.psnr_db}
        for name, ends in self.range_augment.ranges().items():
            metrics |= {f"{name}_{end}": value for end, value in ends.items()}
        return metrics | self.objective.metrics()


def target_mse(progress: float, start_db: float, end_db: float) -> float:
    """The target mean squared error of 8-bit pixels: half a cosine, in MSE, between two PSNRs."""
    start, end = (PEAK / 10 ** (psnr / 10) for psnr in (start_db, end_db))
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
