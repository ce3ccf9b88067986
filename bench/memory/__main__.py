"""`python -m bench.memory`."""

from bench.memory.config import Memory
from catlip.cli import run

if __name__ == "__main__":
    run(Memory, "bench.memory.measure:main")
