"""`python -m bench.downstream.retrieval`."""

from bench.downstream.retrieval.config import Retrieval
from catlip.cli import run

if __name__ == "__main__":
    run(Retrieval, "bench.downstream.retrieval.measure:main")
