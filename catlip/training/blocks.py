"""The transformer blocks of any objective: the unit in which models are sharded and compiled."""

import torch
from torch import nn

# Compiled graphs of a block: one for each image size, in training and in evaluation. With dropped
# paths, blocks of one class do not share graphs, because each has another drop rate.
MAX_GRAPHS = 64
# Steps of each image size from which on compiling is assumed to save time on a GPU: compiling takes
# about half a minute a size, and should save some hundredths of a second a step. bench.compiling
# measures both.
PAYING_STEPS = 1_000


def blocks(module: nn.Module) -> list[nn.Module]:
    """The blocks of a module: the members of each outermost stack.

    A stack is an nn.ModuleList or nn.Sequential of at least two modules of one class with weights.
    """
    members = list(module.children())
    alike = (
        isinstance(module, nn.ModuleList | nn.Sequential)
        and len({type(member) for member in members}) == 1
    )
    if alike and len(members) > 1 and any(True for _ in module.parameters()):
        return members
    return [block for member in members for block in blocks(member)]


def compiling_pays(device: torch.device, num_steps: int, num_sizes: int) -> bool:
    """Whether compiling should save time in a training of that many steps and image sizes."""
    return device.type == "cuda" and num_steps >= PAYING_STEPS * num_sizes


def compile_blocks(module: nn.Module) -> None:
    """Compile the blocks in place.

    Blocks that are alike share their graphs; each image size has its own.

    A graph for all sizes would depend on the order of the sizes, and so on the step at which a run
    was stopped.
    """
    compiled = blocks(module)
    most = MAX_GRAPHS * max(1, len(compiled))
    torch._dynamo.config.recompile_limit = most
    torch._dynamo.config.accumulated_recompile_limit = most
    # Otherwise, beyond the limit, blocks would run uncompiled without a message.
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for block in compiled:
        block.compile(dynamic=False)
