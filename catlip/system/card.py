"""The state of this process's GPU, as nvidia-smi and torch see it: what its times may depend on."""

import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

TIMEOUT_S = 5.0
SIDE, PRODUCTS = 4096, 10  # of the matrices that keep the card busy; between two looks at the time
# Field of a record -> nvidia-smi's; `nvidia-smi --help-query-gpu` explains them.
FIELDS = {
    "sm_mhz": "clocks.sm",
    "max_sm_mhz": "clocks.max.sm",
    "power_w": "power.draw",
    "power_limit_w": "power.limit",
    "celsius": "temperature.gpu",
    "limited_by": "clocks_event_reasons.active",
    "ecc": "ecc.mode.current",
}
REASONS = {  # of nvml.h, by bit
    0x1: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "temperature, by software",
    0x40: "temperature, by hardware",
    0x80: "power brake",
    0x100: "display clocks",
}


def card_state() -> dict[str, Any]:
    """FIELDS while the card multiplies matrices, and `other_gib`, the memory that other processes
    hold; {} without a GPU. What cannot be told is missing.
    """
    torch = sys.modules.get("torch")
    if not (torch and torch.cuda.is_initialized()):
        return {}
    state: dict[str, Any] = {}
    # No run ends for this; an error of the device itself comes again where it matters.
    with suppress(OSError, RuntimeError):
        ranks = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
        if not ranks:  # else NCCL's buffers, of up to some GiB, would count as other processes'
            # CUDA's own in this process, about half a GiB, does.
            free, total = torch.cuda.mem_get_info()
            other = total - free - torch.cuda.memory_reserved()
            state["other_gib"] = round(other / 2**30, 2)
        state |= _queried(torch)
    return state


def _queried(torch: Any) -> dict[str, Any]:
    """FIELDS from nvidia-smi; {} if it fails.

    A hot or power-limited card has its full clock again as soon as it is idle, so it multiplies
    while nvidia-smi looks.
    """
    device = torch.device("cuda", torch.cuda.current_device())
    uuid = torch.cuda.get_device_properties(device).uuid
    command = ["nvidia-smi", f"--query-gpu={','.join(FIELDS.values())}", f"--id=GPU-{uuid}"]
    command.append("--format=csv,noheader,nounits")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    end = time.monotonic() + TIMEOUT_S
    try:
        # Random, because zeros take little power; not the random numbers of the run.
        generator = torch.Generator(device).manual_seed(0)
        options = {"generator": generator, "device": device, "dtype": torch.half}
        matrix = torch.rand(SIDE, SIDE, **options)
        while process.poll() is None and time.monotonic() < end:
            for _ in range(PRODUCTS):
                matrix @ matrix
            torch.cuda.synchronize()
    finally:
        process.kill()
    if process.poll() != 0 or not process.stdout:
        return {}
    values = [value.strip() for value in process.stdout.read().split(",")]
    if len(values) != len(FIELDS):
        return {}
    state: dict[str, Any] = {}
    for name, value in zip(FIELDS, values, strict=True):
        with suppress(ValueError):  # such as [N/A]
            if name == "ecc":
                state[name] = value
            elif name == "limited_by":
                bits = int(value, 16)
                state[name] = [reason for bit, reason in REASONS.items() if bits & bit]
            else:
                state[name] = float(value)
    return state
