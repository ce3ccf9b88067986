"""What an encoder knows untrained: k nearest neighbours, and zero-shot classification."""

from bench.downstream.probe.config import Readouts
from catlip.cli import run

if __name__ == "__main__":
    run(Readouts, "bench.downstream.probe.readouts:main")
