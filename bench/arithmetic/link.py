"""How long a collective takes by arithmetic, from a latency for each message and a bandwidth, in a
node and between nodes.

    link = PRESETS["a100_8x_nvlink_200gbit"]
    exchange_ms(exchange, link)         # of bench.arithmetic.exchanges.sent

The alpha-beta model: a message of S bytes takes alpha + S / beta. Collectives run round rings, in
two levels if there are several nodes: the g devices of a node divide the work, and each forms a
ring with its counterparts on the m nodes. Left out are contention between jobs, stragglers, and any
cost of starting a kernel that is not in the latency.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catlip.costs import Exchange


@dataclass(frozen=True)
class Link:
    """How devices are connected; bandwidths are what one device sends, while it receives as
    much.
    """

    node_devices: int
    """Devices of a node."""
    node_gb_s: float
    """Bandwidth between devices of a node, in 1e9 bytes/s."""
    node_latency_us: float
    """Latency of a message in a node."""
    network_gb_s: float
    """Bandwidth between nodes, for each device."""
    network_latency_us: float
    """Latency of a message between nodes."""
    source: str = ""
    """Where the numbers come from."""

    def levels(self, devices: int) -> tuple[int, int]:
        """(g, m): devices of a node that take part, and nodes."""
        in_node = min(devices, self.node_devices)
        return in_node, -(-devices // in_node)

    def slowest(self, devices: int) -> tuple[float, float]:
        """GB/s and latency in us of the slowest connection among that many devices."""
        if self.levels(devices)[1] == 1:
            return self.node_gb_s, self.node_latency_us
        gb_s = min(self.node_gb_s, self.network_gb_s)
        return gb_s, max(self.node_latency_us, self.network_latency_us)

    def node_ms(self, size_bytes: float) -> float:
        """Milliseconds of a message in a node."""
        return self.node_latency_us / 1e3 + size_bytes / self.node_gb_s / 1e6

    def network_ms(self, size_bytes: float) -> float:
        """Milliseconds of a message between nodes."""
        return self.network_latency_us / 1e3 + size_bytes / self.network_gb_s / 1e6


LATENCIES = "latencies are assumed, 5 us in a node and 20 us between nodes"
PRESETS = {
    "a100_8x_nvlink_200gbit": Link(
        node_devices=8,
        node_gb_s=300,
        node_latency_us=5,
        network_gb_s=25,
        network_latency_us=20,
        source="datasheet: NVIDIA A100 SXM, NVLink 600 GB/s both ways together; DGX A100, a 200 "
        f"Gbit/s adapter per GPU; {LATENCIES}",
    ),
    "a100_8x_nvlink_50gbit": Link(
        node_devices=8,
        node_gb_s=300,
        node_latency_us=5,
        network_gb_s=6.25,
        network_latency_us=20,
        source="datasheet: NVIDIA A100 SXM, NVLink 600 GB/s both ways together; AWS p4d.24xlarge, "
        f"400 Gbit/s per 8 GPUs; {LATENCIES}",
    ),
    "h100_8x_nvlink_400gbit": Link(
        node_devices=8,
        node_gb_s=450,
        node_latency_us=5,
        network_gb_s=50,
        network_latency_us=20,
        source="datasheet: NVIDIA H100 SXM, NVLink 900 GB/s both ways together; DGX H100, a 400 "
        f"Gbit/s adapter per GPU; {LATENCIES}",
    ),
    "pcie4_8x_100gbit": Link(
        node_devices=8,
        node_gb_s=25,
        node_latency_us=10,
        network_gb_s=1.5625,
        network_latency_us=20,
        source="assumed: 8 GPUs on PCIe 4.0 x16 at 25 of its 32 GB/s, one 100 Gbit/s adapter for "
        "all of them; latencies 10 us in a node and 20 us between nodes",
    ),
}


def scatter_ms(total_bytes: float, devices: int, link: Link) -> float:
    """Milliseconds of a reduce_scatter of `total_bytes`, or of an all_gather whose result is that
    large.

    (g-1) (alpha_node + S/g / beta_node) in the node, then (m-1) (alpha_net + S/(g m) / beta_net)
    between nodes.
    """
    g, m = link.levels(devices)
    inside = (g - 1) * link.node_ms(total_bytes / g)
    return inside + (m - 1) * link.network_ms(total_bytes / (g * m))


def all_reduce_ms(total_bytes: float, devices: int, link: Link) -> float:
    """Reduce-scatter in the node, all-reduce across nodes, gather in the node: twice `scatter_ms`.

    In one node: 2 (n-1) alpha + 2 (n-1)/n S / beta.
    """
    return 2 * scatter_ms(total_bytes, devices, link)


def all_to_all_ms(total_bytes: float, devices: int, link: Link) -> float:
    """Every device sends S/n to every other: g-1 of the messages stay in the node, n-g leave it."""
    (g, _), size = link.levels(devices), total_bytes / devices
    return (g - 1) * link.node_ms(size) + (devices - g) * link.network_ms(size)


def broadcast_ms(total_bytes: float, devices: int, link: Link) -> float:
    """A pipeline through all devices, as slow as its slowest link: a latency for each hop, and the
    bytes once.
    """
    g, m = link.levels(devices)
    gb_s, _ = link.slowest(devices)
    hops_us = (g - 1) * m * link.node_latency_us + (m - 1) * link.network_latency_us
    return hops_us / 1e3 + total_bytes / gb_s / 1e6


def neighbour_ms(total_bytes: float, devices: int, link: Link) -> float:
    """SigLIP's exchange of a step: captions travel round a ring of all devices in both directions
    at once, and their gradients travel back.

    2 ceil((n-1)/2) rounds, each as slow as the slowest link: that many latencies, and all the bytes
    that one device sends.
    """
    gb_s, latency_us = link.slowest(devices)
    return 2 * (devices // 2) * latency_us / 1e3 + total_bytes / gb_s / 1e6


def exchange_ms(exchange: Exchange, link: Link) -> float:
    """Milliseconds of all calls of an exchange, one after another, each of the same size."""
    n, size = exchange.world_size, exchange.payload_bytes / exchange.count
    if exchange.kind == "neighbour_exchange":
        return neighbour_ms(exchange.payload_bytes, n, link)
    if exchange.kind == "all_gather":
        return exchange.count * scatter_ms(size * n, n, link)
    one = {
        "all_reduce": all_reduce_ms,
        "reduce_scatter": scatter_ms,
        "all_to_all": all_to_all_ms,
        "broadcast": broadcast_ms,
    }[exchange.kind]
    return exchange.count * one(size, n, link)


def fit(
    sizes_bytes: Sequence[float], all_reduces_ms: Sequence[float], devices: int
) -> tuple[float, float]:
    """Latency (us) and bandwidth (GB/s) of a ring from all-reduces of several sizes, by least
    squares of the relative error.

    t = 2 (n-1) alpha + 2 (n-1)/n S / beta. A latency or time per byte that comes out negative is
    set to zero.
    """
    sizes, times = np.asarray(sizes_bytes, dtype=float), np.asarray(all_reduces_ms, dtype=float)
    steps = 2 * (devices - 1)
    columns = np.stack([np.full_like(times, steps / 1e3), steps / devices * sizes / 1e6], axis=1)
    solved = np.linalg.lstsq(columns / times[:, None], np.ones_like(times), rcond=None)[0]
    latency_us, ns_per_byte = solved.clip(min=0)
    return float(latency_us), float(1 / ns_per_byte) if ns_per_byte > 0 else float("inf")
