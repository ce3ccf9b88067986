"""The stages and their steps: from the data to the page."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

from pipeline.dense import dense
from pipeline.inputs import REPOSITORY, module_of
from pipeline.options import Options
from pipeline.plan import Plan
from pipeline.step import Step
from pipeline.study import Data, study_steps
from pipeline.transfer import transfer


def data(plan: Plan) -> Iterator[Step]:
    """The starter data set; at the other scales the user has the data."""
    if plan.starter:
        yield Step(
            "data",
            program="catlip.data.starter",
            other_arguments=("--out", "data/starter", *plan.quiet),
            makes=[Path("data/starter")],
            updates=("code", "command"),
        )


def label(plan: Plan) -> Iterator[Step]:
    """Captions to labels, labels to a vocabulary, and statistics of both."""
    shards, labels, vocabulary = plan.options.shards, plan.labels, plan.vocabulary
    yield Step(
        "label",
        program="catlip.label",
        arguments=(shards,),
        other_arguments=("--labels-dir", str(labels), *plan.quiet),
        reads=[shards],
        makes=[labels],
        owns=[labels],
        updates=("inputs",),
    )
    yield Step(
        "vocabulary",
        program="catlip.vocabulary",
        arguments=(str(labels), *_threshold(plan)),
        other_arguments=("--out", str(vocabulary), *plan.quiet),
        reads=[str(labels)],
        makes=[vocabulary],
    )
    yield Step(
        "statistics",
        program="catlip.vocabulary",
        arguments=("stats", str(vocabulary)),
        reads=[str(vocabulary)],
        makes=[plan.record("vocabulary", "vocabulary-statistics")],
    )
    examples = plan.record("examples", "examples")
    yield Step(
        "examples",
        program="catlip.examples",
        arguments=(shards, "--vocabulary", str(vocabulary)),
        other_arguments=("--out", str(examples)),
        reads=[shards, str(vocabulary)],
        makes=[examples],
    )
    yield Step(
        "audit",
        program="catlip.label",
        arguments=("audit", shards),
        other_arguments=("--labels-dir", str(labels), *plan.quiet),
        reads=[shards],
    )


def _threshold(plan: Plan) -> tuple[str, ...]:
    """At photos scale, by default, the program chooses one that fits the number of captions."""
    default = {"starter": "16", "photos": ""}.get(plan.options.scale, "500")
    threshold = plan.options.threshold or default
    return ("--threshold", threshold) if threshold else ()


def pretrain(plan: Plan) -> Iterator[Step]:
    """One training per seed and method, by the method's recipe of the same name."""
    shards, labels, vocabulary = plan.options.shards, plan.labels, plan.vocabulary
    chosen = ["--epochs", plan.options.epochs] if plan.options.epochs else []
    if plan.options.encoder:
        chosen += ["--encoder", plan.options.encoder]
    labelled = ("--vocabulary", str(vocabulary), "--labels-dir", str(labels))
    for seed, method in product(range(plan.options.seeds), plan.options.methods):
        folder = plan.trained(method, seed)
        program = "catlip.pretrain"
        own: list[str] = []
        also: list[str] = []
        reads = [shards]
        if method != "catlip":
            program = "baselines.pretrain"
            own += ["--method", method]
            also.append(module_of(method))
        if method != "clip":  # any other method may need labels
            own += labelled
            reads += [str(vocabulary), str(labels)]
        yield Step(
            folder.name,
            program=program,
            arguments=(
                *("--recipe", plan.recipe, "--shards", shards, "--seed", str(seed)),
                *("--snapshots", "4", *chosen, *own),
            ),
            other_arguments=("--out", str(folder), *plan.device),
            reads=reads,
            makes=[folder / "weights.safetensors", plan.record("pretrain", folder.name)],
            owns=[folder, plan.record("pretrain", folder.name)],
            also=also,
            processes=1 if plan.small else max(plan.gpus, 1),
            beside=plan.beside,
        )


def bench(plan: Plan) -> Iterator[Step]:
    """What a step costs on this machine."""
    small = ("--model", "vit_tiny16") if plan.small else ()
    compared = ("--methods", *plan.options.methods)
    yield cost(plan, "step_time", ("--model", "vit_b16", *compared))
    if plan.small:
        as_trained = (
            *("--model", plan.encoder, "--resolution", str(plan.resolution), "--batch-size", "64"),
            *("--num-steps", "40", "--num-classes", _num_classes(plan), *compared),
        )
        yield cost(plan, "step_time", as_trained, name=f"step_time_{plan.options.scale}")
    yield cost(plan, "memory", small)
    if not plan.small:
        yield cost(plan, "waterfall")
    if plan.gpus != 1:
        some = ("--methods", "catlip", "clip", "siglip", "superclass") if plan.small else ()
        yield cost(plan, "communication", (*small, *some), processes=plan.gpus or 2)


def _num_classes(plan: Plan) -> str:
    """Of the vocabulary; before there is one, as of the starter's."""
    if plan.starter or not plan.vocabulary.is_file():
        return "1097"
    return str(len(json.loads(plan.vocabulary.read_text())["synsets"]))


def cost(
    plan: Plan, program: str, arguments: Iterable[str] = (), *, name: str = "", processes: int = 1
) -> Step:
    """A measurement of this machine; its record is named after the device."""
    return Step(
        name or program,
        program=f"bench.{program}",
        arguments=tuple(arguments),
        other_arguments=("--out", str(plan.runs / program), *plan.device),
        makes=[plan.runs / program],
        also=[f"baselines.{file.stem}" for file in (REPOSITORY / "baselines").glob("*.py")],
        hardware=f"{plan.gpus} GPUs",
        updates=("hardware",),
        processes=processes,
    )


def study(plan: Plan) -> Iterator[Step]:
    """With --study: each method tuned, scaled and trained with noise."""
    options = plan.options
    if options.study:
        for step in study_steps(
            options.scale,
            Data(options.shards, plan.vocabulary, plan.labels, probe=options.probe),
            plan.runs,
            methods=options.methods,
            seeds=range(options.seeds),
            device=plan.device,
        ):
            yield replace(step, beside=plan.beside)


def report(plan: Plan) -> Iterator[Step]:
    """The page, made from all records."""
    recipes = plan.record("recipes", "recipes")
    yield Step(
        "recipes", program="catlip.recipes", other_arguments=("--out", str(recipes)), always=True
    )
    records = ("--records", str(plan.options.out), "reports/records")
    yield Step("report", program="reports", arguments=(*records, "--out", "report"), always=True)


STEPS: dict[str, Callable[[Plan], Iterator[Step]]] = {
    "data": data,
    "label": label,
    "pretrain": pretrain,
    "transfer": transfer,
    "dense": dense,
    "bench": bench,
    "study": study,
    "report": report,
}


def steps_of(stage: str, options: Options) -> list[Step]:
    """The steps of a stage, in the order in which they run."""
    return list(STEPS[stage](Plan(options)))
