"""How much memory a training step takes, and for what: measured for one method after another,
beside what is predicted.
"""

from bench.memory.config import Memory
from catlip.cli import run

if __name__ == "__main__":
    run(Memory, "bench.memory.measure:main")
