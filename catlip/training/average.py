"""The exponential moving average of an objective's weights: what is transferred at the end.

torch's AveragedModel copies the whole module, which FSDP2 refuses, and averages its constants too. This keeps one tensor
for each entry of the state dict, sharded as the objective is, and updates all of them in one fused call.
"""

import torch
from torch import Tensor, nn

from catlip.training.parallel import local


class WeightAverage:
    """The average of an objective's parameters and of its floating-point buffers; other buffers are copied.

    Attributes:
        values: name -> tensor, as in the objective's state dict.
    """

    def __init__(self, objective: nn.Module, decay: float):
        self.decay = decay
        self._current: dict[str, Tensor] = objective.state_dict(keep_vars=True)
        self.values = {name: tensor.detach().clone() for name, tensor in self._current.items()}
        self._averaged = [name for name, tensor in self.values.items() if tensor.is_floating_point()]

    @torch.no_grad()
    def update(self, first: bool) -> None:
        """Move towards the objective's present state; onto it when it is the `first` step of a run."""
        averages, current = ([local(tensors[name]) for name in self._averaged] for tensors in (self.values, self._current))
        torch._foreach_lerp_(averages, current, 1.0 if first else 1 - self.decay)
        for name in self.values.keys() - set(self._averaged):
            self.values[name].copy_(self._current[name])
