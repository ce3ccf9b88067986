"""What all labels of a run hold together: for its record, and as a few lines to read."""

from collections import Counter
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from catlip.cli import InputError
from catlip.kinds import Labelling, Run
from catlip.kinds.words.labelling import rule_of
from catlip.kinds.words.labels import labels_table
from catlip.label.sidecar import read_sidecar
from catlip.label.sources import Source
from catlip.system.foreign import printable
from catlip.table import as_text


def summarise(
    sidecars: Mapping[Source, Path], new: Set[Source], making: Mapping[str, Any], seconds: float
) -> Labelling:
    """Metrics of the labels in `sidecars`, and of how fast those of `new` were made.

    Args:
        making: the `rule`, `edition`, `tagger` and `wordnet` that all must have been made with.
    Raises: InputError on labels that were made otherwise, on a machine with other words, say.
    """
    captions = labels = size = cut = new_captions = 0
    unlabelled, first = Counter[str](), dict[str, str]()
    skipped, first_skipped = Counter[str](), dict[str, str]()
    for source, sidecar in sidecars.items():
        labels_of_source = read_sidecar(sidecar)
        _check_making(sidecar, labels_of_source.meta, making)
        captions, labels, cut = (
            captions + len(labels_of_source),
            labels + len(labels_of_source.values),
            cut + labels_of_source.meta["cut"],
        )
        size += sidecar.stat().st_size
        new_captions += len(labels_of_source) * (source in new)
        unlabelled.update(labels_of_source.meta["unlabelled"])
        for cause, key in labels_of_source.meta["first_unlabelled"].items():
            first.setdefault(cause, f"{key} of {source.path.name}")
        for cause, (count, name) in labels_of_source.meta.get("skipped", {}).items():
            skipped[cause] += count
            first_skipped.setdefault(cause, f"{name} of {source.path.name}")
    return Labelling(
        rule=making["rule"],
        sources=len(sidecars),
        captions=captions,
        labels_per_caption=labels / captions,
        bytes_per_caption=size / captions,
        unlabelled=dict(unlabelled),
        first_unlabelled=first,
        skipped=dict(skipped),
        first_skipped=first_skipped,
        cut=cut,
        captions_labelled_now=new_captions,
        captions_per_s=new_captions / seconds if new_captions else None,
    )


def report(run: Run[Labelling], num_done_before: int, folder: Path, record_path: Path) -> None:
    """Print what the report's page shows of the run, the first caption of each cause, and where
    everything is.
    """
    labels, rule = run.measured, rule_of(run)
    print(as_text(labels_table({rule: run}, {}, scale="")))
    print(
        f"labelled {labels.captions_labelled_now:,} captions; {num_done_before} of "
        f"{labels.sources} labels files were there before"
    )
    for cause, key in labels.first_unlabelled.items():
        print(f"  first without a label, {cause}: {printable(key)}")
    for cause, count in labels.skipped.items():
        first = printable(labels.first_skipped[cause])
        print(f"  {count:,} samples skipped: {cause} (first: {first})")
    print(f"labels: {folder}\nrecord: {record_path}")


def _check_making(sidecar: Path, meta: Mapping[str, Any], making: Mapping[str, Any]) -> None:
    for name, value in making.items():
        if meta[name] != value:
            raise InputError(
                f"{sidecar} was made with {name} {meta[name]}, not {value} as here; have the same "
                "words on all machines (a common $CATLIP_CACHE) and run the command again"
            )
