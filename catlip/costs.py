"""The types with which an objective states the cost of its step, in plain numbers."""

from dataclasses import dataclass

FLOAT32 = 4  # bytes
GIB = 2**30  # bytes
TEXT_VOCABULARY = 49_408  # CLIP's byte-pair tokens


@dataclass(frozen=True)
class StepShape:
    """The training step of one device: its batch, the ranks, the bytes of a number in matrix
    products (2 under autocast, else 4), and "cuda" or "cpu".
    """

    batch_size: int
    ranks: int = 1
    number_bytes: int = FLOAT32
    device_type: str = "cuda"

    @property
    def global_batch(self) -> int:
        return self.batch_size * self.ranks

    def logits_bytes(self, width: int, classes: int) -> int:
        """Bytes kept for a linear classifier: logits and, under autocast, a copy of the weight."""
        return FLOAT32 * self.batch_size * classes + self.copies_bytes(width * classes)

    def copies_bytes(self, weights: int) -> int:
        """Bytes of the 16-bit copies that autocast keeps of that many weights; 0 without it."""
        return self.number_bytes * weights if self.number_bytes < FLOAT32 else 0


@dataclass(frozen=True)
class TextTower:
    """Shape of a text encoder; `joint` is the width of the space that images and texts share."""

    width: int
    depth: int
    heads: int
    joint: int = 512
    context: int = 77


@dataclass(frozen=True)
class Matmul:
    """`count` products of [rows, inner] and [inner, columns]; of a convolution, rows are pixels."""

    rows: int
    inner: int
    columns: int
    count: int = 1
    trained_operands: int = 2
    """How many of the two matrices need a gradient: one if the rows are made of pixels."""

    @property
    def flops(self) -> int:
        """FLOPs of the forward pass; a multiply-add counts as two."""
        return 2 * self.rows * self.inner * self.columns * self.count


@dataclass(frozen=True)
class Exchange:
    """What every rank sends in one step for one purpose (gradients, parameters, features, counts,
    buffers or norm): `count` calls of the collective `kind`, or of "neighbour_exchange" round a
    ring.

    `payload_bytes` are passed by one rank to all calls together: the tensor that is reduced or
    broadcast, its own part of a gather, the whole input of a reduce_scatter or all_to_all, or the
    tensor for a neighbour.
    """

    what: str
    kind: str
    count: int
    payload_bytes: int
    world_size: int

    @property
    def sent_bytes(self) -> float:
        """The bytes that leave a rank in a ring; of a broadcast, the mean over ranks."""
        n, payload = self.world_size, self.payload_bytes
        return {
            "all_reduce": 2 * (n - 1) / n * payload,
            "all_gather": (n - 1) * payload,
            "reduce_scatter": (n - 1) / n * payload,
            "all_to_all": (n - 1) / n * payload,
            "broadcast": (n - 1) / n * payload,
            "neighbour_exchange": payload,
        }[self.kind]
