"""Studies of many trainings: which recipe of each method is best, and what changes with their
length, the data, the encoder and the pruning threshold.
"""

from dataclasses import dataclass

from bench.study import lengths, thresholds, tuning
from catlip.cli import Program, run


@dataclass(frozen=True)
class Studies:
    """Train many times, probe each encoder, and write one record for each training.

    python -m bench.study tuning --help
    python -m bench.study lengths --help
    python -m bench.study thresholds --help
    """


def main(config: Studies) -> None:
    for name in SUBCOMMANDS:
        print(f"python -m bench.study {name} --help")


SUBCOMMANDS: dict[str, Program] = {
    "tuning": (tuning.Tuning, tuning.main),
    "lengths": (lengths.Lengths, lengths.main),
    "thresholds": (thresholds.Thresholds, thresholds.main),
}

if __name__ == "__main__":
    run(Studies, main, subcommands=SUBCOMMANDS)
