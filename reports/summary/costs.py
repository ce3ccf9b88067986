"""Is CatLIP cheaper? The answer, and a table of what CLIP takes over CatLIP.

A ratio is given only with its interval, and is of one record, whose device it names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.self_check.result import SelfCheck, caution
from bench.step_time.result import PACKED, StepTime
from bench.step_time.steps import step_description
from catlip.label.result import Labelling
from catlip.records.blocks import Answer
from catlip.records.estimate import Estimate
from catlip.records.kind import Interval
from catlip.records.run import TIMES, Run, interval, ratio_cell
from catlip.records.select import first_of_each_rule, link, means_by_seed
from catlip.records.styles import CATLIP, CLIPS, distinct_name, name_of
from catlip.records.table import (
    Cell,
    Table,
    clipped,
    format_number,
    from_to,
    listed,
    mean_and_spread,
)
from reports.pairs import pair_up
from reports.paper.published import claimed_speed_up
from reports.read.setting import Setting, is_vit_b16, plainest_first


@dataclass(frozen=True)
class Cost:
    """What this CLIP takes over CatLIP: a step with the setting's encoder, a step with ViT B/16,
    each also without padded captions, and a whole training; None where it was not measured.
    """

    clip: str
    record: Run[StepTime] | None
    larger_record: Run[StepTime] | None
    step: Interval | None
    larger: Interval | None
    packed: Interval | None
    larger_packed: Interval | None
    training: Estimate | None


def cost_of(setting: Setting, clip: str) -> Cost:
    record, larger = setting.step_time, setting.larger_step_time
    trusted = larger if larger and not larger.too_few else None
    return Cost(
        clip,
        record,
        trusted,
        step=step_ratio(record, clip),
        larger=step_ratio(trusted, clip),
        packed=step_ratio(record, clip + PACKED),
        larger_packed=step_ratio(trusted, clip + PACKED),
        training=_training_ratio(setting, clip),
    )


def step_ratio(record: Run[StepTime] | None, clip: str) -> Interval | None:
    return record.metrics.ratios.get(f"{clip}/{CATLIP}") if record else None


def _training_ratio(setting: Setting, clip: str) -> Estimate | None:
    """CLIP's training time over CatLIP's, paired by seed; None if they were not trained alike."""
    if setting.unlike_trainings(clip):
        return None
    one, other = (
        means_by_seed(setting.timed.get(method, ()), lambda record: record.metrics.train_seconds)
        for method in (CATLIP, clip)
    )
    return pair_up(one, other).ratio()


def compared_clips(setting: Setting) -> list[str]:
    """The CLIP that is compared, and the paper's with a transformer, if it was trained or timed."""
    clips = [*dict.fromkeys([setting.clip, CLIPS[-1]])]
    known = [c for c in clips if setting.trainings(c) or step_ratio(setting.step_time, c)]
    return known or clips[:1]


# The answer


def cheaper(setting: Setting, others: Sequence[Setting] = ()) -> Answer:
    """What CLIP costs over CatLIP; on a GPU, if another setting has one's step times; then the
    cost of labelling.
    """
    record, clips = setting.step_time, compared_clips(setting)
    sources = [(record.anchor, "step times")] if record else []
    trained = {m: runs for m in [CATLIP, *clips] if (runs := setting.trainings(m))}
    sources += [(link(runs), name_of(m)) for m, runs in trained.items()]
    costs = [cost_of(setting, clip) for clip in clips]
    sentences = [words for cost in costs if (words := _whole_trainings(setting, cost))]
    is_cpu = bool(record and record.is_cpu)
    gpu = _on_gpu(others) if is_cpu else None
    short = _in_short(costs, gpu is not None)
    if gpu:
        on_gpu, times, words = gpu
        short += f" On {clipped(on_gpu.device, 32)} {times} times."
        sentences.append(words)
        sources.append((on_gpu.anchor, clipped(on_gpu.device)))
    checks = [check for one in (setting, *others) for check in one.of(SelfCheck)]
    if doubt := caution([run for run in (record, gpu and gpu[0]) if run], checks):
        short = f"{doubt} {short}"
    sentences += [text] if (text := _labelling(setting)) else []
    return Answer("Is CatLIP cheaper?", short, sentences, sources=sources)


def _in_short(costs: Sequence[Cost], has_gpu: bool) -> str:
    """One sentence if CLIP takes longer with each text tower, otherwise one for each."""
    record, refusals = costs[0].record, [_not_cheaper(cost) for cost in costs]
    if record is None or any(refusals) or not all(cost.step for cost in costs):
        each = [refused or _longer(cost) for cost, refused in zip(costs, refusals, strict=True)]
        if len({*each}) == 1:
            each = each[:1]
        elif len(costs) > 1:
            named = zip(costs, each, strict=True)
            each = [f"Over {distinct_name(cost.clip)}: {_lowered(words)}" for cost, words in named]
        return " ".join(f"{words}." for words in each)
    where, ending = "here", f"the paper claims {format_number(claimed_speed_up(), 1)} at its scale"
    if record.is_cpu:
        where, ending = "on CPUs", "" if has_gpu else "no GPU was timed"
    elif record.device:
        where = f"on {clipped(record.device, 32)}"
    first, *more = [f"{from_to(_all(cost), 2)}" for cost in costs]
    words = f"Yes: {where} CLIP takes {first} times as long"
    if more:
        words += f" with a bag of words, {more[0]} with a transformer"
    if packed := [one.value for c in costs for one in (c.packed, c.larger_packed) if one]:
        words += f" (a step {from_to(packed, 2)} without padding)"
    return f"{words}{f'; {ending}' * bool(ending)}."


def _lowered(words: str) -> str:
    return words[0].lower() + words[1:]


def _longer(cost: Cost) -> str:
    if cost.step is None and cost.training:
        times = f"{format_number(cost.training.value, 2)} times as long here; steps were not timed"
        return f"Yes: CLIP's training takes {times}"
    return f"Yes: CLIP takes {from_to(_all(cost), 2)} times as long"


def _all(cost: Cost) -> list[float]:
    return [one.value for one in (cost.step, cost.larger, cost.training) if one]


def _not_cheaper(cost: Cost) -> str:
    """Why there is no yes; empty if CLIP's time over CatLIP's is above one."""
    if cost.step is None or cost.record is None:
        if cost.training is None or cost.training.low is None:
            return "Not yet known: this needs both methods' step times on one device"
        return _at_most_one(cost.training, "training")
    if cost.record.too_few:
        return f"Not yet known: step times have only {cost.record.too_few}"
    return _at_most_one(cost.step, "step")


def _at_most_one(ratio: Interval | Estimate, what: str) -> str:
    if ratio.low is None or ratio.high is None:
        return f"Not yet known: the ratio of {what} times has no interval"
    if ratio.low <= 1 <= ratio.high:
        return f"No difference in {what} time can be told here"
    if ratio.value < 1:
        return f"No: CLIP's {what} takes {format_number(ratio.value, 2)} times as long here"
    return ""


def _on_gpu(others: Sequence[Setting]) -> tuple[Run[StepTime], str, str] | None:
    """The step times of ViT B/16 on a GPU, and CLIP's over CatLIP's, as a number and in words."""
    every = [run for other in others for run in other.of(StepTime) if not run.is_cpu]
    for run in plainest_first(every):
        ratio, packed = (step_ratio(run, CLIPS[-1] + end) for end in ("", PACKED))
        if ratio and not run.too_few and is_vit_b16(run):
            words = f"A step on a GPU, {step_description(run)}: "
            words += f"{format_number(ratio.value, 2)} ({interval(run, ratio)})"
            if packed:
                words += (
                    f", {format_number(packed.value, 2)} ({interval(run, packed)}) without padding"
                )
            return run, format_number(ratio.value, 2), f"{words}."
    return None


def _whole_trainings(setting: Setting, cost: Cost) -> str:
    """The seconds of both methods, where the table has no ratio of them."""
    seconds = [mean_and_spread(q) for m in (CATLIP, cost.clip) if (q := setting.seconds(m))]
    if len(seconds) < 2:
        return ""
    if fields := setting.unlike_trainings(cost.clip):
        return f"Whole trainings are not compared: they differ in {listed(fields)}."
    if cost.training and cost.training.low is not None:
        return ""
    return f"Whole trainings: {seconds[0]} s against {seconds[1]} s."


def _labelling(setting: Setting) -> str:
    # The record of rule `paper`, if there is one.
    record = next(iter(first_of_each_rule(setting.of(Labelling)).values()), None)
    rate = record.metrics.captions_per_s if record else None
    if record is None or not rate:
        return ""
    captions = record.metrics.captions
    return f"Labels of {captions:,} captions take {format_number(captions / rate)} s."


# The table


def cost_table(setting: Setting) -> Table | None:
    """CLIP's time over CatLIP's: a row for what was timed, columns for the text towers; None
    without a ratio that has an interval.
    """
    costs = [cost_of(setting, clip) for clip in compared_clips(setting)]
    record = costs[0].record
    if record and record.too_few:
        record = None
    columns, rows = ["CLIP's time over CatLIP's"], dict[str, list[Cell]]()
    for cost in costs:
        name = distinct_name(cost.clip)
        columns += [name, f"{name}, no padding"]
        if record:
            row = rows.setdefault(
                f"A step of {clipped(record.config.model or record.name, 40)}", []
            )
            row += [ratio_cell(record, cost.step), ratio_cell(record, cost.packed)]
        if larger := cost.larger_record:
            row = rows.setdefault("A step of ViT B/16", [])
            row += [ratio_cell(larger, cost.larger), ratio_cell(larger, cost.larger_packed)]
        cell, training = Cell(), cost.training
        if training and training.low is not None:
            low, high = (format_number(end, 2) for end in (training.low, training.high))
            ends = f"{low} to {high}; {training.pairs} pairs"
            anchor = link(setting.trainings(cost.clip))
            cell = Cell(f"{format_number(training.value, 2)}{TIMES}", ends, anchor)
        rows.setdefault("A whole training", []).extend([cell, Cell()])
    kept = {name: row for name, row in rows.items() if any(c.text != Cell().text for c in row)}
    if not kept:
        return None
    caption = "95 % intervals."
    cells = [[Cell(name), *row] for name, row in kept.items()]
    return Table("cost", "What CLIP takes over CatLIP", columns, cells, caption=caption)
