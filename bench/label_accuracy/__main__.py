"""How often a labelling rule finds the class that a sentence is known to be about. (Section 3.1)"""

from dataclasses import dataclass
from pathlib import Path

from catlip.cli import InputError, choose, run
from catlip.label.result import RULES
from catlip.program.ranges import Natural


@dataclass(frozen=True)
class LabelAccuracy:
    """Label sentences about known ImageNet classes, and count how often the class is found.

    python -m bench.label_accuracy
    python -m bench.label_accuracy --rules paper_multiword --max-prompts 10000
    """

    rules: tuple[str, ...] = RULES
    """Labelling rules; each is compared with the first."""
    max_prompts: Natural = 0
    """Judge by this many sentences, drawn at random; 0 for all."""
    out: Path = Path("runs/bench/label_accuracy/prompts.json")
    """The record to write."""
    quiet: bool = False
    """No progress bar."""

    def __post_init__(self) -> None:
        for rule in self.rules:
            choose("rule", rule, dict.fromkeys(RULES))
        if len(set(self.rules)) != len(self.rules):
            raise InputError(f"--rules {' '.join(self.rules)}: give each rule once")


def main(config: LabelAccuracy) -> None:
    """Measure, print, write the record."""
    from bench.label_accuracy import result
    from bench.label_accuracy.measure import fill, measure
    from bench.label_accuracy.prompts import draw_prompts
    from catlip.record import Record
    from catlip.table import print_tables

    with Record(config.out, result.LabelAccuracy, config) as record:
        prompts = draw_prompts(config.max_prompts)
        outcomes = measure(config.rules, prompts, config.quiet)
        measured = record.measured(fill(record, prompts, outcomes))
    print_tables(result.accuracy_table(measured))
    print(f"wrote {record.path}")


if __name__ == "__main__":
    run(LabelAccuracy, main)
