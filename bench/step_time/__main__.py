"""`python -m bench.step_time`."""

from bench.step_time.config import StepTime
from catlip.cli import run

if __name__ == "__main__":
    run(StepTime, "bench.step_time.measure:main")
