"""`python -m bench.waterfall`."""

from bench.waterfall.config import Waterfall
from catlip.cli import run

if __name__ == "__main__":
    run(Waterfall, "bench.waterfall.measure:main")
