"""`python -m bench.plan`."""

from bench.plan.config import Plan
from catlip.cli import run

if __name__ == "__main__":
    run(Plan, "bench.plan.planning:main")
