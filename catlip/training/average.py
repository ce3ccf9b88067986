"""The exponential moving average of an objective's weights: what is transferred at the end.

torch's AveragedModel copies the whole module, which FSDP2 does not allow, and also averages its
constants. This class has one tensor for each entry of the state dict, sharded like the objective,
and updates all of them in one fused call.
"""

import torch
from torch import Tensor, nn

from catlip.training.parallel import local


class WeightAverage:
    """The average of an objective's parameters and floating-point buffers.

    Other buffers are copied.

    Args:
        rising: let the decay rise to `decay` as (1 + step) / (10 + step), so that the average of a
            short run does not stay near its initial weights.
    Attributes:
        values: name -> tensor, as in the objective's state dict.
    """

    def __init__(self, objective: nn.Module, decay: float, rising: bool = False):
        self.decay, self.rising = decay, rising
        self._current: dict[str, Tensor] = objective.state_dict(keep_vars=True)
        self.values = {name: tensor.detach().clone() for name, tensor in self._current.items()}
        self._averaged = [
            name for name, tensor in self.values.items() if tensor.is_floating_point()
        ]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the objective's state after step number `step`, from 0.

        After the first step the average is the state.
        """
        averages = [local(self.values[name]) for name in self._averaged]
        current = [local(self._current[name]) for name in self._averaged]
        decay = min(self.decay, (1 + step) / (10 + step)) if self.rising else self.decay
        torch._foreach_lerp_(averages, current, 1.0 if step == 0 else 1 - decay)
        for name in self.values.keys() - set(self._averaged):
            self.values[name].copy_(self._current[name])
