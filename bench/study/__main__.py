"""Studies of many trainings: which recipe of each method is best, and what their length, the data,
the encoder, noise and the pruning threshold change.
"""

from dataclasses import dataclass

from bench.study import lengths, noise, thresholds, tuning
from catlip.cli import Program, run


@dataclass(frozen=True)
class Studies:
    """Train many times, probe each encoder, and write one record for each training.

    python -m bench.study tuning --help
    python -m bench.study lengths --help
    python -m bench.study noise --help
    python -m bench.study thresholds --help
    """


def main(config: Studies) -> None:
    for name in subcommands:
        print(f"python -m bench.study {name} --help")


if __name__ == "__main__":
    subcommands: dict[str, Program] = {
        "tuning": (tuning.Tuning, tuning.main),
        "lengths": (lengths.Lengths, lengths.main),
        "noise": (noise.NoiseStudy, noise.main),
        "thresholds": (thresholds.Thresholds, thresholds.main),
    }
    run(Studies, main, subcommands=subcommands)
