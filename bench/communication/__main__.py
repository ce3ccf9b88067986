"""What the ranks of a training step send each other, how long that takes, and how much of it the
step waits for.
"""

from bench.communication.config import Communication
from catlip.cli import run

if __name__ == "__main__":
    run(Communication, "bench.communication.measure:main")
