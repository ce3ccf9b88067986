"""`python -m bench.data_path`."""

from bench.data_path.config import DataPathBench
from catlip.cli import run

if __name__ == "__main__":
    run(DataPathBench, "bench.data_path.measure:main")
