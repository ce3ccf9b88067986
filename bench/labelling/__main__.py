"""How fast captions become labels on one core, beside NLTK."""

from dataclasses import dataclass
from pathlib import Path

from catlip.cli import choose, run
from catlip.label.result import RULES
from catlip.program.ranges import Count


@dataclass(frozen=True)
class Labelling:
    """Time the labelling of captions on one core. The captions are 64,000 descriptions of
    ImageNet's classes.

    python -m bench.labelling
    python -m bench.labelling --rules corenet
    """

    rules: tuple[str, ...] = ("paper", "corenet")
    """Labelling rules to time."""
    num_rounds: Count = 8
    """Rounds of labelling in turns."""
    round_captions: Count = 5_000
    """Captions in a round, as in a shard; NLTK labels the first tenth of them."""
    out: Path = Path("runs/bench/labelling/labelling.json")
    """The record to write."""
    quiet: bool = False
    """No progress bar."""

    def __post_init__(self) -> None:
        for rule in self.rules:
            choose("rule", rule, dict.fromkeys(RULES))


def main(config: Labelling) -> None:
    from dataclasses import replace

    from bench.labelling import measure, result
    from catlip.record import Record
    from catlip.table import print_tables

    captions = measure.descriptions()
    speed = result.LabellingSpeed(rules={})
    with Record(config.out, result.LabellingSpeed, config) as record:
        for rule in config.rules:
            of_rule, taken = measure.measure_rule(rule, captions, config)
            record.samples |= {f"{rule}_{name}_us": times for name, times in taken.items()}
            speed = replace(speed, rules=speed.rules | {rule: of_rule})
            record.metrics = speed.metrics()
            record.save()
        measured = record.measured(speed)
    print_tables(result.speed_table(measured))
    print(f"wrote {record.path}")


if __name__ == "__main__":
    run(Labelling, main)
