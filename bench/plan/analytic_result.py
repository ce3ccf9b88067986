"""What a training step costs, computed and not measured: operations, parameters, bytes of memory
and bytes sent.
"""

from dataclasses import dataclass

from catlip.method_style import name_of
from catlip.results.kind import Kind
from catlip.results.run import Run
from catlip.table import Cell, Table, number_cell


@dataclass(frozen=True, kw_only=True)
class MethodCosts:
    """The costs of one method: 1e9 operations per image, numbers of parameters, GiB kept on one GPU
    and MB sent by it; the dictionaries are by part.
    """

    forward_gflops: dict[str, float]
    step_gflops_per_image: float
    recomputed_gflops_per_image: float
    parameters: dict[str, int]
    state_gib: dict[str, float]
    activations_gib: dict[str, float]
    peak_gib: float
    sent_mb: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Analytic(Kind):
    """The costs of several methods.

    Attributes:
        flops_ratios: `clip/catlip` -> operations per image of CLIP over those of CatLIP.
        flops_ratio_with_own_sizes: the ratio of CLIP to CatLIP, each with the image sizes and
            number of devices that it was published with.
    """

    kind = "analytic"

    methods: dict[str, MethodCosts]
    flops_ratios: dict[str, float]
    flops_ratio_with_own_sizes: float


def analytic_table(run: Run[Analytic]) -> Table:
    """One row per method; the ratio is of operations per step, to those of the first method."""
    columns = [
        "Method",
        "Image GF",
        "Text GF",
        "Head GF",
        "Step GF",
        "Ratio",
        "Recomputed GF",
        "Parameters (M)",
        "State (GiB)",
        "Activations (GiB)",
        "Peak (GiB)",
        "Sent (MB)",
    ]
    first = next(iter(run.measured.methods.values())).step_gflops_per_image
    rows = [
        [
            Cell(name_of(method)),
            *(number_cell(gflops, 2) for gflops in costs.forward_gflops.values()),
            number_cell(costs.step_gflops_per_image, 1),
            number_cell(costs.step_gflops_per_image / first, 3),
            number_cell(costs.recomputed_gflops_per_image, 1),
            number_cell(sum(costs.parameters.values()) / 1e6, 1),
            number_cell(sum(costs.state_gib.values()), 2),
            number_cell(sum(costs.activations_gib.values()), 2),
            number_cell(costs.peak_gib, 2),
            number_cell(costs.sent_mb["total"], 2),
        ]
        for method, costs in run.measured.methods.items()
    ]
    setup = run.setup
    dropped = f"{setup.patch_drop_rate:.0%} of patches dropped, " if setup.patch_drop_rate else ""
    title = (
        f"{setup.model}, {setup.resolution} px, {dropped}{setup.precision}, {setup.batch_size} "
        f"images on each of {setup.world_size} devices; GF: 1e9 operations per image; memory and "
        "bytes sent: of one device"
    )
    return Table("analytic", title, columns, rows=rows)
