"""`python -m catlip.transfer_init`: write a head for new labels, and show what stands for them."""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from catlip.cli import InputError, run
from catlip.program.ranges import PositiveFraction
from catlip.records.record import Record, plain
from catlip.records.table import print_tables
from catlip.system.files import write_atomically
from catlip.transfer_init import ALPHA, origins_sentence, origins_table
from catlip.vocabulary.label_sets import label_set
from catlip.vocabulary.result import LABEL_SETS


@dataclass(frozen=True)
class TransferInit:
    """Initialise a classifier for new labels by Transfer Init (Section 4.2). Before there are
    weights, `catlip.vocabulary stats --against` shows which labels have a class.

    python -m catlip.transfer_init runs/starter/pretrain/catlip-seed0 \\
        --vocabulary runs/starter/vocabulary.json --labels imagenet \\
        --out runs/starter/transfer_init/imagenet.safetensors

    python -m catlip.transfer_init vit_base.pt --vocabulary datacomp_1_2B_vocab.pkl \\
        --labels places365:/data/places365

    python -m catlip.transfer_init runs/cc3m/pretrain/catlip-seed0 \\
        --vocabulary runs/cc3m/vocabulary.json --labels my_classes.txt --out head.safetensors

    The record holds every label with the class that stands for it. The head is read back by
    `nn.Linear.load_state_dict(safetensors.torch.load_file(PATH))`.
    """

    weights: tyro.conf.Positional[Path]
    """A run's folder, or a file that `python -m catlip.weights` reads."""
    vocabulary: Path | None = None
    """Vocabulary of the weights: made by catlip.vocabulary, or the release's, ending in .pkl; by
    default the one that the record beside a run's folder names.
    """
    labels: str = "imagenet"
    """Label set to classify: imagenet, coco, ade20k, fashion_mnist, places365:DIR, or a text file
    of your own class names, one a line, whose rows are shown.
    """
    alpha: PositiveFraction = ALPHA
    """Least path similarity, 1 / (1 + steps), of a class that may stand for a label; 1 takes exact
    matches only.
    """
    out: Path = Path("runs/bench/transfer_init/head.safetensors")
    """The head to write, ending in .safetensors; the record goes beside it, ending in .json."""


def main(config: TransferInit) -> None:
    from safetensors.torch import save  # torch takes seconds to load

    from catlip.transfer_init.head import transfer_rows
    from catlip.weights.checkpoint import read_checkpoint, vocabulary_of, weights_file

    if config.out.suffix != ".safetensors":
        raise InputError(f"--out {config.out} must end in .safetensors")
    labels = label_set(config.labels)
    checkpoint = read_checkpoint(weights_file(config.weights))
    vocabulary = vocabulary_of(checkpoint, str(config.weights), config.vocabulary)
    classifier = (checkpoint.classifier["weight"], checkpoint.classifier["bias"])
    head = transfer_rows(*classifier, vocabulary, labels, config.alpha)
    rows = [origin.row() for origin in head.origins]
    path = config.out.with_suffix(".json")
    with Record(path, kind="transfer_init", config=config) as record:
        record.samples[f"origins_{labels.name}"] = rows
        record.metrics |= {"num_classes": len(vocabulary), "num_labels": len(rows)}
        metadata = {"config": json.dumps(plain(config)), "table": json.dumps(rows)}
        content = save({"weight": head.weight, "bias": head.bias}, metadata)
        write_atomically(config.out, content)
    if labels.name not in LABEL_SETS:
        print_tables([origins_table(labels.name, head.origins, vocabulary)])
    print(
        f"{origins_sentence(labels.name, head.origins, config.alpha)}\nwrote {config.out}, {path}"
    )


if __name__ == "__main__":
    run(TransferInit, main)
