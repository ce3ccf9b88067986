"""What a training step costs: forward, loss, backward and optimizer of each method, interleaved in
one process.
"""

from bench.step_time.config import StepTime
from catlip.cli import run

if __name__ == "__main__":
    run(StepTime, "bench.step_time.measure:main")
