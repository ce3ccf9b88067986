"""Plan a pre-training before money is spent, without running anything."""

from bench.plan.config import Plan
from catlip.cli import run

if __name__ == "__main__":
    run(Plan, "bench.plan.planning:main")
