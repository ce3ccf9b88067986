"""`python -m bench.communication`."""

from bench.communication.config import Communication
from catlip.cli import run

if __name__ == "__main__":
    run(Communication, "bench.communication.measure:main")
