"""`python -m catlip.data.starter`."""

from catlip.cli import run
from catlip.data.starter.build import Starter, main

if __name__ == "__main__":
    run(Starter, main)
