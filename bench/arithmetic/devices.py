"""GPUs and the links between them, by their datasheets."""

import re
from dataclasses import dataclass

# Usable part of a device's free memory: NCCL and the gaps between blocks of the allocator take the
# rest.
USABLE = 0.9


@dataclass(frozen=True)
class Link:
    """How devices are connected; bandwidths are what one device sends while it receives as much. A
    message of S bytes takes alpha + S / beta.
    """

    node_devices: int
    node_gb_s: float
    node_latency_us: float
    network_gb_s: float
    network_latency_us: float

    def levels(self, devices: int) -> tuple[int, int]:
        """(g, m): devices of a node that take part, and nodes."""
        in_node = min(devices, self.node_devices)
        return in_node, -(-devices // in_node)

    def slowest(self, devices: int) -> tuple[float, float]:
        """GB/s and latency in us of the slowest connection among that many devices."""
        if devices <= self.node_devices:
            return self.node_gb_s, self.node_latency_us
        return self.network_gb_s, self.network_latency_us

    def node_ms(self, size_bytes: float) -> float:
        return self.node_latency_us / 1e3 + size_bytes / self.node_gb_s / 1e6

    def network_ms(self, size_bytes: float) -> float:
        return self.network_latency_us / 1e3 + size_bytes / self.network_gb_s / 1e6


# GB/s by the datasheets of the GPUs and of NVIDIA's DGX, with an adapter for each GPU. Assumed are
# all latencies, the adapters of GB200, GH200 and AMD's, and of PCIe 4.0 x16 25 of its 32 GB/s, with
# one adapter of 100 Gbit/s for 8 GPUs.
A100_NODES = Link(8, 300, 5, network_gb_s=25, network_latency_us=20)
H100_NODES = Link(8, 450, 5, network_gb_s=50, network_latency_us=20)
PCIE_NODES = Link(8, 25, 10, network_gb_s=1.5625, network_latency_us=20)
B200_NODES = Link(8, 900, 5, network_gb_s=50, network_latency_us=20)
B300_NODES = Link(8, 900, 5, network_gb_s=100, network_latency_us=20)
GB200_NODES = Link(72, 900, 5, network_gb_s=50, network_latency_us=20)
GH200_NODES = Link(1, 50, 20, network_gb_s=50, network_latency_us=20)
MI300_NODES = Link(8, 448, 5, network_gb_s=50, network_latency_us=20)
MI350_NODES = Link(8, 537, 5, network_gb_s=50, network_latency_us=20)


@dataclass(frozen=True)
class Gpu:
    """One GPU by its datasheet: GB of memory; dense TFLOP/s by precision, fp32 without tensor
    cores; how it is usually connected; and the driver's names for it, if others.
    """

    memory_gb: float
    tflops: dict[str, float]
    link: Link = PCIE_NODES
    names: tuple[str, ...] = ()


HOPPER = {"bf16": 989.0, "fp16": 989.0, "fp32": 67.0}
NVL = {"bf16": 835.0, "fp16": 835.0, "fp32": 60.0}
AMPERE = {"bf16": 312.0, "fp16": 312.0, "fp32": 19.5}
BLACKWELL = {"bf16": 2250.0, "fp16": 2250.0, "fp32": 75.0}  # HGX B200 and B300, an eighth
CDNA3 = {"bf16": 1307.4, "fp16": 1307.4, "fp32": 163.4}
GPUS: dict[str, Gpu] = {
    "B300": Gpu(270, BLACKWELL, B300_NODES, names=("B300 SXM6 AC",)),
    "GB200": Gpu(186, {"bf16": 2500, "fp16": 2500, "fp32": 80}, GB200_NODES),
    "B200": Gpu(180, BLACKWELL, B200_NODES),
    "GH200": Gpu(96, HOPPER, GH200_NODES, names=("GH200 480GB",)),
    "GH200 144GB": Gpu(144, HOPPER, GH200_NODES, names=("GH200 144G HBM3e",)),
    "H200": Gpu(141, HOPPER, H100_NODES),
    "H200 NVL": Gpu(141, NVL),
    "H100": Gpu(80, HOPPER, H100_NODES, names=("H100 80GB HBM3",)),
    "H100 PCIe": Gpu(80, {"bf16": 756, "fp16": 756, "fp32": 51}),
    "H100 NVL": Gpu(94, NVL),
    "H20": Gpu(96, {"bf16": 148, "fp16": 148, "fp32": 44}, H100_NODES),
    "A100": Gpu(80, AMPERE, A100_NODES, names=("A100-SXM4-80GB",)),
    "A100 40GB": Gpu(40, AMPERE, A100_NODES, names=("A100-SXM4-40GB",)),
    "A100 PCIe": Gpu(80, AMPERE, names=("A100 80GB PCIe",)),
    "A10G": Gpu(24, {"bf16": 70, "fp16": 70, "fp32": 35}),
    "L40S": Gpu(48, {"bf16": 362, "fp16": 362, "fp32": 91.6}),
    "L4": Gpu(24, {"bf16": 121, "fp16": 121, "fp32": 30.3}),
    "V100": Gpu(32, {"fp16": 125, "fp32": 15.7}, names=("V100-SXM2-32GB",)),
    "T4": Gpu(16, {"fp16": 65, "fp32": 8.1}),
    "RTX PRO 6000": Gpu(  # the Max-Q and the Server Edition have lower clocks
        96,
        {"bf16": 503.8, "fp16": 503.8, "fp32": 125},
        names=("RTX PRO 6000 Blackwell Workstation Edition",),
    ),
    # GeForce cards by their architecture's whitepaper, products summed in fp32.
    "RTX 5090": Gpu(32, {"bf16": 209.5, "fp16": 209.5, "fp32": 104.8}),
    "RTX 4090": Gpu(24, {"bf16": 165, "fp16": 165, "fp32": 82.6}),
    "RTX 3090": Gpu(24, {"bf16": 71, "fp16": 71, "fp32": 35.6}),
    "MI355X": Gpu(288, {"bf16": 2516.6, "fp16": 2516.6, "fp32": 157.3}, MI350_NODES),
    "MI325X": Gpu(256, CDNA3, MI300_NODES),
    "MI300X": Gpu(192, CDNA3, MI300_NODES),
}


def gpu_of(device: str) -> Gpu | None:
    """The GPU of that name, or of its driver's; None for any other, such as a slice of one."""
    name = re.sub(r"^(nvidia |tesla |geforce |amd |instinct )*", "", device.lower())
    for known, gpu in GPUS.items():
        if name in (known.lower(), *map(str.lower, gpu.names)):
            return gpu
    return None


def datasheet_tflops(device: str, precision: str) -> float | None:
    """TFLOP/s of dense products by the datasheet of a GPU of this name, or None."""
    gpu = gpu_of(device)
    return gpu.tflops.get(precision) if gpu else None
