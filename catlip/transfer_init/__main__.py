"""`python -m catlip.transfer_init`: show which classes stand for labels, and write the head."""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from catlip.cli import InputError, run
from catlip.program.ranges import Count, PositiveFraction
from catlip.records.record import Record, plain
from catlip.records.table import Cell, Table, as_text, number_cell
from catlip.system.files import write_atomically
from catlip.transfer_init import ALPHA, Bias, Scale, Ties, coverage, find_origins
from catlip.transfer_init.table import origins_sentence, origins_table
from catlip.vocabulary import Vocabulary, check_trained_on
from catlip.vocabulary.label_sets import SETS, label_set

COLUMNS = {
    "total": "Labels",
    "exact": "Exact",
    "near": "Near",
    "mean": "Mean",
    "random": "Random",
    "distinct_rows": "Distinct rows",
}


@dataclass(frozen=True)
class TransferInit:
    """Initialise a classifier for new labels by Transfer Init (Section 4.2), or show its coverage.

    python -m catlip.transfer_init --vocabulary runs/starter/vocabulary.json \\
        --labels imagenet coco ade20k

    python -m catlip.transfer_init runs/starter/pretrain/catlip-seed0 \\
        --vocabulary runs/starter/vocabulary.json --labels imagenet \\
        --out runs/starter/transfer_init/imagenet.safetensors

    python -m catlip.transfer_init vit_base.pt --vocabulary datacomp_1_2B_vocab.pkl \\
        --labels places365:/data/places365

    python -m catlip.transfer_init runs/cc3m/pretrain/catlip-seed0 \\
        --vocabulary runs/cc3m/vocabulary.json --labels my_classes.txt --out head.safetensors

    The record holds every label with the classes that stand for it. The head is read back by
    `nn.Linear.load_state_dict(safetensors.torch.load_file(PATH))`.
    """

    weights: tyro.conf.Positional[Path | None] = None
    """A run's folder, or a file that `python -m catlip.weights` reads; without it only the coverage
    is shown.
    """
    vocabulary: Path = Path("vocabulary.json")
    """Vocabulary of the weights: made by catlip.vocabulary, or the release's, ending in .pkl."""
    labels: tuple[str, ...] = ("imagenet",)
    """Label sets to classify: imagenet, coco, ade20k, fashion_mnist, places365:DIR, or a text file
    of your own class names, one a line, whose rows are shown; with weights only one.
    """
    alpha: PositiveFraction = ALPHA
    """Least path similarity, 1 / (1 + steps), of a class that may stand for a label; 1 takes exact
    matches only.
    """
    ties: Ties = "frequent"
    """Of several classes that are equally near, the most frequent one, or the mean of all."""
    bias: Bias = "zero"
    """Bias of the head: zero suits a softmax; copy, that of the rows, suits many yes or no
    questions; fresh is drawn as nn.Linear does.
    """
    scale: Scale = "as_is"
    """Scale of the copied rows: fresh gives them the standard deviation of a fresh nn.Linear, unit
    a mean norm of 1.
    """
    top_k: Count = 24_320
    """Number of classes to take from a released vocabulary: its most frequent synsets."""
    out: Path = Path("runs/bench/transfer_init/head.safetensors")
    """The head to write, ending in .safetensors; the record goes beside it, ending in .json."""


def main(config: TransferInit) -> None:
    if config.out.suffix != ".safetensors":
        raise InputError(f"--out {config.out} must end in .safetensors")
    if len(set(config.labels)) < len(config.labels) or not config.labels:
        raise InputError("--labels takes one label set or more, each once")
    if config.weights and len(config.labels) > 1:
        raise InputError("--labels takes one label set with weights")
    label_sets = [label_set(spec) for spec in config.labels]
    if config.vocabulary.suffix == ".pkl":
        vocabulary = Vocabulary.from_release(config.vocabulary, config.top_k)
    else:
        vocabulary = Vocabulary.load(config.vocabulary)
    head = b""
    if config.weights:  # torch takes seconds to load; the coverage does not need it
        from safetensors.torch import save

        from catlip.transfer_init.head import transfer_rows
        from catlip.weights.checkpoint import read_checkpoint, weights_file

        checkpoint = read_checkpoint(weights_file(config.weights))
        if set(checkpoint.classifier) != {"weight", "bias"}:
            raise InputError(
                f"{config.weights} has no classifier over a vocabulary, as catlip trains one"
            )
        check_trained_on(config.vocabulary, checkpoint.config.get("vocabulary"), "the weights were")
        rows = transfer_rows(
            checkpoint.classifier["weight"],
            checkpoint.classifier["bias"],
            vocabulary,
            labels=label_sets[0],
            alpha=config.alpha,
            ties=config.ties,
            bias_init=config.bias,
            scale=config.scale,
        )
        table = json.dumps([origin.row() for origin in rows.origins])
        head = save(
            {"weight": rows.weight, "bias": rows.bias},
            {"config": json.dumps(plain(config)), "table": table},
        )
    if len({labels.name for labels in label_sets}) < len(label_sets):
        raise InputError("--labels takes files of different names")
    table_rows, coverages, own = [], {}, []
    with Record(config.out.with_suffix(".json"), kind="transfer_init", config=config) as record:
        for labels in label_sets:
            origins = find_origins(labels, vocabulary, config.alpha, ties=config.ties)
            if labels.name not in SETS:
                own += [as_text(origins_table(labels.name, origins, vocabulary)) + "\n"]
                own += [origins_sentence(labels.name, origins, config.alpha) + "\n"]
            coverages[labels.name] = numbers = coverage(origins)
            record.samples[f"origins_{labels.name}"] = [origin.row() for origin in origins]
            cells = [number_cell(numbers[key], 0) for key in COLUMNS]
            cells.append(number_cell(numbers["mean_similarity"], 3))
            table_rows.append([Cell(labels.name), *cells])
        record.metrics |= {"num_classes": len(vocabulary), "labels": coverages}
        if head:
            write_atomically(config.out, head)
    print("\n".join(own), end="\n" * bool(own))
    print(f"{len(vocabulary):,} classes, similarity at least {config.alpha:g}, ties: {config.ties}")
    columns = ["Label set", *COLUMNS.values(), "Mean similarity"]
    print(as_text(Table("coverage", "Origins of the rows", columns, rows=table_rows)))
    if head:
        print(f"wrote {config.out}")
    print(f"wrote {record.path}")


if __name__ == "__main__":
    run(TransferInit, main)
