"""How many images per second one core decodes, crops and batches: this project's code and other
libraries, on the same photographs in turns.
"""

from bench.data_path.config import DataPathBench
from catlip.cli import run

if __name__ == "__main__":
    run(DataPathBench, "bench.data_path.measure:main")
