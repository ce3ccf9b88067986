"""No step of any method mixes the host with the device, or reads numbers back from it.

Either would stop or slow a GPU. torch's meta device stands in for one: it refuses operands of
another device, and has no numbers to read.
"""

import pytest
import torch

from bench.measuring import methods
from catlip.objective import Objective
from catlip.pretraining.method import augmented
from catlip.recipes.pretrain import CATLIP

META = torch.device("meta")
IN_CHUNKS = "catlip_chunked"  # asks autocast about its device, which does not know this one


def step(objective: Objective) -> torch.Tensor:
    batch = methods.synthetic_batch(4, "hybrid_mini", 32, num_classes=50, seed=0)
    objective.set_progress(0.5)
    loss = objective(batch.to(META))
    loss.backward()
    return loss


@pytest.mark.parametrize("method", sorted(methods.METHODS.keys() - {IN_CHUNKS}))
@pytest.mark.parametrize("is_augmented", [False, True])
def test_a_step_stays_on_its_device(method: str, is_augmented: bool) -> None:
    objective = methods.build(method, "hybrid_mini", 32, num_classes=50, seed=0)
    if is_augmented:
        objective = augmented(objective, CATLIP["datacomp_b16"])
    assert step(objective.to(META)).device == META


def test_a_weight_on_the_host_is_noticed_and_so_is_a_number_read_back() -> None:
    objective = methods.build("catlip", "hybrid_mini", 32, num_classes=50, seed=0).to(META)
    objective.register_forward_hook(lambda *arguments: arguments[-1].item())
    with pytest.raises(RuntimeError):
        step(objective)
    mixed = methods.build("catlip", "hybrid_mini", 32, num_classes=50, seed=0).to(META)
    mixed.classifier.to_empty(device="cpu")
    with pytest.raises(RuntimeError):
        step(mixed)
