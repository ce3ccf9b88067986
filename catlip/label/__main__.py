"""`python -m catlip.label`: labels what is not labelled yet, and sums up all labels in a record."""

import functools
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro

from catlip.captions import Labeller, LabelVersion
from catlip.cli import InputError, run
from catlip.data.remote import names_in
from catlip.label import is_labelled, label_source, read_words
from catlip.label.audit import audit_captions, audit_tables, take_captions, unknown_words
from catlip.label.result import LabelAudit, Labelling
from catlip.label.sidecar import (
    Labels,
    labelling_record,
    read_sidecar,
    sidecar_path,
    write_plan,
)
from catlip.label.sources import Source, find
from catlip.label.table import check_table, write_table
from catlip.program.broken import MAX_BROKEN, MaxBroken
from catlip.program.progress import progress
from catlip.program.ranges import Natural
from catlip.records.record import OMIT_DEFAULT, Record
from catlip.records.table import print_tables
from catlip.system.engines import Apply, ray_cluster, work_ahead, worker_pool
from catlip.system.foreign import printable
from catlip.system.machine import processors
from catlip.system.urls import show_urls
from catlip.vocabulary.result import LABELS

# Captions above these may not be English: in Flickr8k's captions, shop titles and WordNet's
# definitions, at most 3 % have no label and 41 % of the words are no nouns; in German 25 and 73 %.
MAX_WITHOUT_LABEL, MAX_UNKNOWN_WORDS = 0.25, 0.5
CHECKED_CAPTIONS = 1000  # captions whose words are looked up


@dataclass(frozen=True)
class Label:
    """Label captions with WordNet synsets; run the same command again to go on where it stopped, or
    to label what has changed.

    python -m catlip.label 'cc3m/{00000..00331}.tar' --rule paper --labels-dir runs/cc3m/labels

    python -m catlip.label captions.parquet --text-column caption

    python -m catlip.label Train_GCC-training.tsv --text-column 0

    python -m catlip.label 'cc3m/{00000..00331}.tar' --labels-dir runs/cc3m/labels \\
        --vocabulary runs/cc3m/vocabulary.json --out labels.parquet

    `explain` shows what becomes of each word of a caption; `audit` which words a rule drops or may
    mistake most often.
    """

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Paths, folders, globs or braces of shards (.tar, also URLs of these) or tables (.parquet .csv
    .tsv .jsonl).
    """
    rule: str = "paper"
    """"paper": the tagger's nouns by first sense; "paper_multiword": also nouns of several words;
    "corenet": as released.
    """
    labels_dir: Path = Path("labels")
    """Folder of the labels, or its URL (s3://bucket/labels). The record goes to labelling/ beside a
    local folder, otherwise to runs/labelling/.
    """
    words: Path | None = None
    """Words of your own, a CSV without a header: a word, and the noun or synset that it stands for
    ("tshirts,shirt"), or nothing if it is to give no label ("color,").
    """
    text_column: str | None = None
    """A table's column of captions (by default caption, text, TEXT or texts); its number, from 0,
    if there is no header row.
    """
    max_broken: MaxBroken = field(default=MAX_BROKEN, metadata=OMIT_DEFAULT)
    engine: Literal["local", "ray"] = field(default="local", metadata=OMIT_DEFAULT)
    """"local": processes of this machine; "ray": all machines of the Ray cluster at $RAY_ADDRESS,
    which see captions and labels at the same paths, else one started on this machine.
    """
    part: tuple[Natural, Natural] = field(default=(0, 1), metadata=OMIT_DEFAULT)
    """I N: label only part I, from 0, of N parts, one for each of several machines. Without it, the
    same command then labels what is missing, and writes the record.
    """
    workers: Natural = 0
    """Processes of the local engine; 0 is one per core."""
    quiet: bool = False
    """No progress bar."""
    out: Path | None = field(default=None, metadata=OMIT_DEFAULT)
    """Also write one table for trainings elsewhere, .parquet: a row for each caption, with its key,
    words and synsets.
    """
    vocabulary: Path | None = field(default=None, metadata=OMIT_DEFAULT)
    """With --out: a vocabulary, made by catlip.vocabulary; the table then has the class ids, too.
    """


@dataclass(frozen=True)
class Explain:
    """Show each word of a caption: its tag, base form and synset and, if the word gave no label,
    why not.

    python -m catlip.label explain "Two bikes and a golden retriever on a couch" --rule corenet
    """

    caption: tyro.conf.Positional[str]
    """The caption."""
    rule: str = "paper"
    """"paper", "corenet" or "paper_multiword"."""
    words: Path | None = None
    """Words of your own, as for labelling."""


@dataclass(frozen=True)
class Audit:
    """Count what a rule drops most and what it may keep wrongly, with an example caption for each,
    in up to 100,000 captions, taken evenly from the shards and tables.

    python -m catlip.label audit captions.parquet --rule corenet
    """

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Shards or tables, as for labelling."""
    rule: str = "paper"
    """"paper", "corenet" or "paper_multiword"."""
    words: Path | None = None
    """Words of your own, as for labelling."""
    text_column: str | None = None
    """A table's column of captions, as for labelling."""
    labels_dir: Path = Path("labels")
    """Folder of the labels of these sources; the record goes where that of labelling goes."""
    quiet: bool = False
    """No progress bar."""


def main(config: Label) -> None:
    part, parts = config.part
    if part >= parts:
        raise InputError(f"--part {part} {parts}: of {parts} parts the last is {parts - 1}")
    sources = find(config.sources, config.text_column, config.max_broken)
    labels_dir, rule = config.labels_dir, config.rule
    record_path = labelling_record(labels_dir, rule)
    # Fetches the words once, before the workers start; refuses an unknown rule.
    label_version = Labeller(rule, read_words(config.words)).version
    if config.out:
        paths = [source.path.resolve() for source in sources]
        check_table(config.out, config.vocabulary, label_version, paths)
    elif config.vocabulary:
        raise InputError("--vocabulary gives the class ids of a table; give --out labels.parquet")
    check = functools.partial(is_labelled, labels_dir=labels_dir, version=label_version)
    label = functools.partial(label_source, labels_dir=labels_dir, version=label_version)
    sidecars = _sidecars(sources, labels_dir, rule)
    write_plan(labels_dir, rule, {sidecar.name for sidecar in sidecars.values()})
    present, mine = names_in(labels_dir), sources[part::parts]
    labelled = [source for source in mine if sidecars[source].name in present]
    workers = config.workers or processors()
    with ray_cluster() if config.engine == "ray" else worker_pool(workers) as apply:
        apply_to_each = functools.partial(_apply_to_each, apply, config.quiet)
        checked = apply_to_each("checking", check, labelled)
        done = {source for source, is_same in checked if is_same is True}
        todo = [source for source in mine if source not in done]
        if parts > 1:
            doing = f"labelling part {part} of {parts} on {platform.node()}"
            failures = [error for _, error in apply_to_each(doing, label, todo) if error]
            if failures:
                raise _failure(failures, len(mine) - len(failures))
            print(f"part {part} of {parts} is labelled: {len(mine)} of {len(sources)} sources")
            return
        if not todo and record_path.exists():
            print(f"nothing to do: all {len(sources)} are labelled in {labels_dir} ({record_path})")
            print(_write_table(config, sidecars), end="")
            return
        with Record(record_path, Labelling, config) as record:
            start = time.perf_counter()
            failures = [error for _, error in apply_to_each("labelling", label, todo) if error]
            seconds = time.perf_counter() - start
            if failures:
                record.save()  # the others are labelled
                raise _failure(failures, len(sources) - len(failures))
            metrics, unmet = summarise(sidecars, set(todo), label_version, seconds)
            labelling = record.finish(metrics)
    table_line = _write_table(config, sidecars)
    print_tables([LABELS.fill([labelling])])
    print(
        f"labelled {metrics.captions_labelled_now:,} captions; {len(done)} sources were done before"
    )
    for what, counts, firsts in (
        ("captions without a label", metrics.unlabelled, metrics.first_unlabelled),
        ("samples skipped", metrics.skipped, metrics.first_skipped),
    ):
        for cause, count in counts.items():
            print(f"  {count:,} {what}: {cause} (first: {printable(firsts[cause])})")
    if unmet:
        print(
            f"{len(unmet)} of {len(label_version.words)} words of {config.words} occur in no "
            f"caption: {printable(', '.join(unmet))[:500]}"
        )
    without = sum(metrics.unlabelled.values()) / metrics.captions
    unknown = unknown_words(take_captions((todo or sources)[-1:], CHECKED_CAPTIONS))
    if without >= MAX_WITHOUT_LABEL or unknown > MAX_UNKNOWN_WORDS:
        print(
            f"warning: {without:.0%} of the captions have no label, and {unknown:.0%} of their "
            "words are no nouns of WordNet; labels are for English captions only, and the method "
            "`superclass`, which classifies subwords, needs none",
            file=sys.stderr,
        )
    print(show_urls(f"{table_line}labels: {labels_dir}\nrecord: {record_path}"))


def _apply_to_each(
    apply: Apply, quiet: bool, doing: str, function: Callable[..., Any], items: Sequence[Any]
) -> Iterator[tuple[Any, Any]]:
    """Each item with the function's result or InputError, under a progress bar."""
    results, hidden, failed = apply(function, items), quiet or not items, 0
    bar = progress(results, doing, len(items), disable=hidden, unit=" units", leave=False)
    for item, result in bar:
        if isinstance(result, InputError):
            failed += 1
            bar.set_postfix(failed=failed, refresh=False)
        # For example a full disk, which would stop the next item as well.
        if isinstance(result, OSError):
            raise result
        yield item, result


def _write_table(config: Label, sidecars: Mapping[Source, Path]) -> str:
    """Write the table, if one is wanted. Returns: the line that says so."""
    if not config.out:
        return ""
    rows = write_table(config.out, sidecars, config.vocabulary, config.quiet)
    return f"table: {config.out} ({rows:,} rows)\n"


def _sidecars(sources: Sequence[Source], labels_dir: Path, rule: str) -> dict[Source, Path]:
    """Where the labels of each source go. Raises: InputError when two would share a file."""
    taken: dict[Path, Source] = {}
    for source in sources:
        other = taken.setdefault(sidecar_path(source, labels_dir, rule), source)
        if other is not source:
            raise InputError(
                f"{other.path} and {source.path} would share a labels file; give each a "
                "--labels-dir of its own"
            )
    return {source: sidecar for sidecar, source in taken.items()}


def _failure(errors: Sequence[InputError], num_others: int) -> InputError:
    """One error for all sources that could not be labelled; `num_others` sources were labelled."""
    if num_others == 0 and len(errors) == 1:
        return errors[0]
    return InputError(f"{len(errors)} not labelled, {num_others} are; first error: {errors[0]}")


def summarise(
    sidecars: Mapping[Source, Path], new: Set[Source], label_version: LabelVersion, seconds: float
) -> tuple[Labelling, list[str]]:
    """Metrics of the labels in `sidecars`, and of how fast the labels of `new` were made; and the
    user's words that occur in no caption.
    """

    def read(sidecar: Path) -> Labels:
        labels = read_sidecar(sidecar)
        if LabelVersion.from_meta(labels.meta) != label_version:
            # For example on a machine of a cluster that has another tagger.
            raise InputError(
                f"{sidecar} was made by {LabelVersion.from_meta(labels.meta)}, not by "
                f"{label_version} as here; use one version and a common $CATLIP_CACHE on all "
                "machines"
            )
        return labels

    captions = values = new_captions = 0
    unmet = {word for word, _ in label_version.words}
    unlabelled, skipped = Counter[str](), Counter[str]()
    first: dict[str, str] = {}
    first_skipped: dict[str, str] = {}
    read_ahead = work_ahead(read, sidecars.values())
    for source, (_, labels) in zip(sidecars, read_ahead, strict=True):
        captions += len(labels)
        values += len(labels.values)
        if source in new:
            new_captions += len(labels)
        unmet -= {*labels.meta.get("words_met", ())}
        unlabelled.update(labels.meta["unlabelled"])
        for cause, key in labels.meta["first_unlabelled"].items():
            first.setdefault(cause, f"{key} of {source.path.name}")
        for cause, (count, name) in labels.meta.get("skipped", {}).items():
            skipped[cause] += count
            first_skipped.setdefault(cause, f"{name} of {source.path.name}")
    metrics = Labelling(
        rule=label_version.rule,
        sources=len(sidecars),
        captions=captions,
        labels_per_caption=values / captions,
        unlabelled=dict(unlabelled),
        first_unlabelled=first,
        skipped=dict(skipped),
        first_skipped=first_skipped,
        captions_labelled_now=new_captions,
        captions_per_s=new_captions / seconds if new_captions else None,
    )
    return metrics, sorted(unmet)


def explain(config: Explain) -> None:
    labeller = Labeller(config.rule, read_words(config.words))
    lines = [("word", "tag", "base form", "label, or why not")]
    for word in labeller.explain(config.caption):
        verdict = word.reason or f"label {word.synset}: {word.gloss.partition(';')[0]}"
        lines.append((word.word, word.tag, word.lemma, verdict))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        print(printable("  ".join([*cells, line[-1]])))


def audit(config: Audit) -> None:
    sources = find(config.sources, config.text_column)
    record_path = labelling_record(config.labels_dir, f"audit-{config.rule}")
    with Record(record_path, LabelAudit, config) as record:
        captions = take_captions(sources)
        bar = progress(captions, "auditing", disable=config.quiet, unit=" captions")
        labeller = Labeller(config.rule, read_words(config.words))
        metrics, record.samples = audit_captions(bar, labeller)
        audited = record.finish(metrics)
    print_tables(audit_tables(audited, record.samples))
    print(
        "to make such a word a class, or none: --words FILE with lines as `tshirts,shirt`, `color,`"
    )
    print(f"record: {record_path}")


if __name__ == "__main__":
    run(Label, main, subcommands={"explain": (Explain, explain), "audit": (Audit, audit)})
