"""Sums up all labels of a labelling, for its record and as a few lines to read."""

from collections import Counter
from collections.abc import Mapping, Set
from functools import partial
from pathlib import Path
from typing import Any

from catlip.cli import InputError
from catlip.data.remote import read_file
from catlip.kinds import Labelling, Run
from catlip.kinds.words.labelling import rule_of
from catlip.kinds.words.labels import labels_table
from catlip.label.sidecar import Labels, parse_sidecar
from catlip.label.sources import Source
from catlip.system.engines import work_ahead
from catlip.system.foreign import printable
from catlip.system.urls import with_urls
from catlip.table import as_text


def summarise(
    sidecars: Mapping[Source, Path], new: Set[Source], making: Mapping[str, Any], seconds: float
) -> Labelling:
    """Metrics of the labels in `sidecars`, and of how fast the labels of `new` were made.

    Args:
        making: the `rule`, `edition`, `tagger` and `wordnet` that made all labels.
    Raises: InputError on labels that were made otherwise, for example on a machine with another
        tagger.
    """
    captions = labels = size = cut = new_captions = 0
    unlabelled, first = Counter[str](), dict[str, str]()
    skipped, first_skipped = Counter[str](), dict[str, str]()
    read = work_ahead(partial(_read, making=making), sidecars.values())
    for source, (_, (one, num_bytes)) in zip(sidecars, read, strict=True):
        captions += len(one)
        labels += len(one.values)
        size += num_bytes
        cut += one.meta["cut"]
        if source in new:
            new_captions += len(one)
        unlabelled.update(one.meta["unlabelled"])
        for cause, key in one.meta["first_unlabelled"].items():
            first.setdefault(cause, f"{key} of {source.path.name}")
        for cause, (count, name) in one.meta.get("skipped", {}).items():
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
    """Print the table that the report's page shows, the first caption of each cause, and the paths
    of labels and record.
    """
    labels, rule = run.measured, rule_of(run)
    print(as_text(labels_table({rule: run}, {}, scale="")))
    print(
        f"labelled {labels.captions_labelled_now:,} captions; {num_done_before} of "
        f"{labels.sources} labels files were there before"
    )
    for cause, key in labels.first_unlabelled.items():
        print(f"  first caption without a label ({cause}): {printable(key)}")
    for cause, count in labels.skipped.items():
        first = printable(labels.first_skipped[cause])
        print(f"  {count:,} samples skipped: {cause} (first: {first})")
    print(with_urls(f"labels: {folder}\nrecord: {record_path}"))


def _read(sidecar: Path, making: Mapping[str, Any]) -> tuple[Labels, int]:
    """The labels in a file, and its size in bytes. Raises: InputError as `summarise`."""
    content = read_file(sidecar)
    labels = parse_sidecar(sidecar, content)
    for name, value in making.items():
        if labels.meta[name] != value:
            raise InputError(
                f"{sidecar} was made with {name} {labels.meta[name]}, not {value} as here; use the "
                "same version of this program and the same words (a common $CATLIP_CACHE) on all "
                "machines, and run the command again"
            )
    return labels, len(content)
