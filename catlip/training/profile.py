"""Profiles a few steps: where a device's time goes, kernel by kernel."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from catlip.records.profile import Operation
from catlip.records.record import note_samples

STEPS = 5
MAX_OPERATIONS = 20  # in a record


@contextmanager
def profiled(trace: Path, device: torch.device, samples: str) -> Iterator[None]:
    """Profile what the block does: write a trace for chrome://tracing or Perfetto, and note the
    longest operations under the name `samples` in the record.
    """
    on_gpu = device.type == "cuda"
    if not on_gpu:  # without it, kineto says on stderr that there is no GPU
        os.environ.setdefault("KINETO_LOG_LEVEL", "5")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        yield
    trace.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(trace))
    ms, calls = {}, {}
    for event in profiler.key_averages():
        is_kernel = event.device_type == DeviceType.CUDA
        if is_kernel == on_gpu and not event.is_user_annotation:
            us = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            ms[event.key], calls[event.key] = us / 1e3, event.count
    whole = sum(ms.values())
    longest = sorted(ms, key=ms.__getitem__, reverse=True)[:MAX_OPERATIONS]
    rows = [Operation(name, calls[name], ms[name], share=ms[name] / whole) for name in longest]
    note_samples({samples: map(asdict, rows)})
