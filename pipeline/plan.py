"""The stages and their steps: from the data to the page."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from pipeline.options import Options, count_gpus
from pipeline.step import Step, say
from pipeline.study import Data, study_steps

TRANSFER = "bench.downstream"
DENSE_RECIPES = {"multilabel": "table_7c", "segmentation": "table_7d", "detection": "table_7e_b16"}
STARTER_FRACTIONS = ("0.05", "0.1", "0.25", "0.5", "1")
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package installs it
# From six images a class on; an encoder without a classifier starts at random alone.
PHOTOGRAPH_PROBE = (
    *("--recipe", "starter", "--fraction", "0.001", "0.01", "0.1", "1"),
    *("--init", "random", "transfer"),
)


def steps_of(stage: str, options: Options) -> list[Step]:
    """The steps of a stage, in the order in which they run."""
    return list(STEPS[stage](Plan(options)))


class Plan:
    """What several stages have in common: folders, names, and the options of all programs."""

    def __init__(self, options: Options):
        self.options = options
        self.runs = options.runs
        self.starter = options.at_starter_scale
        self.gpus = count_gpus(options.device)
        # The starter's programs are too small for several cores each.
        self.beside = self.starter and not self.gpus and hasattr(os, "sched_getaffinity")
        # Of what takes long after pre-training: by default half an hour must do for all.
        brief = self.starter and not (options.full or options.study)
        self.few_seeds = 1 if brief else options.seeds
        self.quiet = ("--quiet",) if options.quiet else ()
        self.device = ("--device", options.device, *self.quiet)
        self.labels = self.runs / "labels"
        self.vocabulary = self.runs / "vocabulary.json"
        self.probe_data = options.probe.partition(":")[2] or options.probe
        self.untrained = "random:hybrid_mini@48" if self.starter else "random:vit_b16@224"

    def trained(self, method: str, seed: int) -> Path:
        """The folder of a pre-training run."""
        return self.runs / "pretrain" / f"{method}-seed{seed}"

    def all_trained(self, methods: Sequence[str], seeds: int) -> list[Path]:
        """The pre-training runs of these methods, of the first so many seeds."""
        return [self.trained(method, seed) for method in methods for seed in range(seeds)]

    def record(self, kind: str, name: str) -> Path:
        return self.runs / kind / f"{name}.json"


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
        arguments=(str(labels), "--threshold", "16" if plan.starter else "500"),
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


def pretrain(plan: Plan) -> Iterator[Step]:
    """Each method by the recipe of the same name, on each seed."""
    shards, labels, vocabulary = plan.options.shards, plan.labels, plan.vocabulary
    recipe = "starter" if plan.starter else f"{plan.options.scale}_b16"
    labelled = ("--vocabulary", str(vocabulary), "--labels-dir", str(labels))
    for seed, method in product(range(plan.options.seeds), plan.options.methods):
        folder = plan.trained(method, seed)
        own: tuple[str, ...] = () if method == "catlip" else ("--method", method)
        reads = [shards]
        if method != "clip":  # any other may need them
            own, reads = (*own, *labelled), [shards, str(vocabulary), str(labels)]
        yield Step(
            folder.name,
            program="catlip.pretrain" if method == "catlip" else "baselines.pretrain",
            arguments=(
                *("--recipe", recipe, "--shards", shards, "--seed", str(seed), "--snapshots", "4"),
                *own,
            ),
            other_arguments=("--out", str(folder), *plan.device),
            reads=reads,
            makes=[folder / "weights.safetensors", plan.record("pretrain", folder.name)],
            owns=[folder, plan.record("pretrain", folder.name)],
            processes=1 if plan.starter else max(plan.gpus, 1),
            beside=plan.beside,
        )


def transfer(plan: Plan) -> Iterator[Step]:
    """The value of the encoders: probes along the training, on fractions of the data, fine-tuning.

    Also what needs no training. Nothing, if there is no data for them.
    """
    if not plan.options.probe:
        return
    probe, reads = plan.options.probe, [plan.probe_data]
    recipe = "starter" if plan.starter else "table_7a"
    few = plan.all_trained(plan.options.methods, plan.few_seeds)
    for folder in few:
        record = plan.record("longer_training", folder.name)
        yield Step(
            f"longer-{folder.name}",
            program=f"{TRANSFER}.longer_training",
            arguments=(str(folder), "--data", probe, "--recipe", recipe),
            other_arguments=("--out", str(record), *plan.device),
            reads=[str(folder), *reads],
            makes=[record],
            beside=plan.beside,
        )
    if plan.starter:
        by_recipe = ("--recipe", recipe, "--fraction")
        probes = (*by_recipe, *STARTER_FRACTIONS, "--seeds", "3")
        tuned = (*by_recipe, "0.25", "1")
        for method in (*plan.options.methods, "random"):  # each on a core of its own
            yield efficiency(plan, "linear_probe", probes, methods=[method])
        for method in (*plan.options.methods, "random"):
            yield efficiency(plan, "finetune", tuned, methods=[method], seeds=plan.few_seeds)
    else:
        every = (*plan.options.methods, "random")
        whole = ("--fraction", "1", "--options=--num-workers 8")
        for program in ("linear_probe", "finetune"):
            yield efficiency(plan, program, whole, methods=every)
    for folder in few:
        record = plan.record("readout", folder.name)
        yield Step(
            f"readout-{folder.name}",
            program=f"{TRANSFER}.readouts",
            arguments=("--encoder", str(folder), "--data", probe),
            other_arguments=("--out", str(record), *plan.device),
            reads=[str(folder), *reads],
            makes=[record],
            beside=plan.beside,
        )
    if plan.options.full and plan.starter:
        record = plan.record("ceiling", "efficientnet_lite0")
        yield Step(
            "ceiling",
            program=f"{TRANSFER}.linear_probe",
            arguments=("--encoder", "timm:tf_efficientnet_lite0:wheel", "--data", probe),
            other_arguments=("--out", str(record), *plan.device),
            reads=reads,
            makes=[record],
            beside=plan.beside,
        )
        yield from photographs(plan)


def photographs(plan: Plan) -> Iterator[Step]:
    """Fashion-MNIST: a linear probe of each encoder, and what is read out without training.

    Nothing, and a line that says so, where it is not installed.
    """
    if not (plan.options.dry_run or FASHION_MNIST.is_dir()):
        say(
            f"Fashion-MNIST: skipped, for {FASHION_MNIST} is missing; "
            "`apt-get install dataset-fashion-mnist` installs it"
        )
        return
    for folder in plan.all_trained(plan.options.methods, plan.options.seeds):
        name = f"{folder.name}-fashion_mnist"
        probe, readout = plan.record("linear_probe", name), plan.record("readout", name)
        yield on_photographs(plan, probe, str(folder), arguments=PHOTOGRAPH_PROBE)
        yield on_photographs(plan, readout, str(folder), program="readouts")
    for seed in map(str, range(plan.options.seeds)):
        record = plan.record("linear_probe", f"random-seed{seed}-fashion_mnist")
        arguments = (*PHOTOGRAPH_PROBE, "--seed", seed)
        yield on_photographs(plan, record, plan.untrained, arguments=arguments)


def on_photographs(
    plan: Plan,
    record: Path,
    encoder: str,
    *,
    program: str = "linear_probe",
    arguments: tuple[str, ...] = (),
) -> Step:
    """A program that takes an encoder, on Fashion-MNIST."""
    data = str(FASHION_MNIST)
    return Step(
        f"{program}-{record.stem}",
        program=f"{TRANSFER}.{program}",
        arguments=("--encoder", encoder, "--data", f"fashion_mnist:{data}", *arguments),
        other_arguments=("--out", str(record), *plan.device),
        reads=[data] if encoder == plan.untrained else [data, encoder],
        makes=[record],
        beside=plan.beside,
    )


def efficiency(
    plan: Plan,
    program: str,
    arguments: Iterable[str],
    *,
    methods: Sequence[str],
    seeds: int | None = None,
) -> Step:
    """The encoders of these methods on each fraction of the data, on one GPU each if there are
    several.

    Args:
        seeds: how many encoders of a method; all of them by default.
    """
    seeds = seeds or plan.options.seeds
    trained = plan.all_trained([method for method in methods if method != "random"], seeds)
    encoders = [*map(str, trained), *([plan.untrained] if "random" in methods else [])]
    devices = [plan.options.device]
    if plan.gpus > 1:
        devices = [f"cuda:{number}" for number in range(plan.gpus)]
    records = [
        plan.record(program, f"{method}-seed{seed}") for method in methods for seed in range(seeds)
    ]
    return Step(
        "-".join([program, *methods]),
        program=f"{TRANSFER}.data_efficiency",
        arguments=(
            *("--programs", program, "--data", plan.options.probe, "--untrained", str(seeds)),
            *arguments,
            *("--encoders", *encoders),
        ),
        other_arguments=("--out", str(plan.runs), "--devices", *devices, *plan.quiet),
        reads=[*map(str, trained), plan.probe_data],
        makes=records,
        owns=[*records, *(record.with_suffix("") for record in records)],
        also=[f"{TRANSFER}.{program}"],
        beside=plan.beside,
    )


def dense(plan: Plan) -> Iterator[Step]:
    """Multi-label classification, segmentation and detection, if there is data for them."""
    options = plan.options
    if plan.starter and options.coco:
        record = plan.record("scenes", "scenes")
        yield Step(
            "scenes",
            program="catlip.data.annotated_scenes",
            other_arguments=("--out", "data/starter-scenes", "--record", str(record), *plan.quiet),
            makes=[Path("data/starter-scenes"), record],
            updates=("code", "command"),
        )
    for task in DENSE_RECIPES:
        folder = options.ade20k if task == "segmentation" else options.coco
        if not folder:
            continue
        for seed in range(options.seeds):
            for method in ("random", *options.methods):
                yield dense_training(plan, task, folder, method=method, seed=seed)
            if task == "multilabel" and "catlip" in options.methods:
                yield dense_training(
                    plan,
                    task,
                    folder,
                    method="catlip",
                    seed=seed,
                    name=f"catlip_transfer-seed{seed}",
                    arguments=("--init", "transfer"),
                )
        if plan.starter:
            yield dense_training(
                plan,
                task,
                folder,
                method="random",
                seed=0,
                name="overfit",
                arguments=("--overfit", "10"),
            )


def dense_training(
    plan: Plan,
    task: str,
    folder: str,
    *,
    method: str,
    seed: int,
    name: str = "",
    arguments: tuple[str, ...] = (),
) -> Step:
    """One training of a dense task on the encoder of a method, or on an untrained one (random)."""
    name, trained = name or f"{method}-seed{seed}", method != "random"
    encoder = str(plan.trained(method, seed)) if trained else plan.untrained
    recipe = DENSE_RECIPES[task]
    if plan.starter:
        recipe = "starter_overfit" if name == "overfit" else "starter"
    data = f"ade20k:{folder}" if task == "segmentation" else f"coco:{folder}"
    record = plan.record(task, name)
    return Step(
        f"{task}-{name}",
        program=f"{TRANSFER}.{task}",
        arguments=(
            *("--recipe", recipe, "--encoder", encoder, "--data", data, "--seed", str(seed)),
            *arguments,
        ),
        other_arguments=("--out", str(record), *plan.device),
        reads=[folder, encoder] if trained else [folder],
        makes=[record],
        owns=[record, record.with_suffix("")],
        processes=1 if plan.starter else max(plan.gpus, 1),
        beside=plan.beside,
    )


def bench(plan: Plan) -> Iterator[Step]:
    """What a step costs on this machine."""
    small = ("--model", "vit_tiny16") if plan.starter else ()
    compared = ("--methods", *plan.options.methods)
    yield cost(plan, "step_time", ("--model", "vit_b16", *compared))
    if plan.starter:
        as_trained = (
            *("--model", "hybrid_mini", "--resolution", "48", "--batch-size", "64"),
            *("--num-steps", "40", "--num-classes", "1097", *compared),
        )
        yield cost(plan, "step_time", as_trained, name="step_time_starter")
    yield cost(plan, "memory", small)
    if not plan.starter:
        yield cost(plan, "waterfall")
    if plan.gpus != 1:
        some = ("--methods", "catlip", "clip", "siglip", "superclass") if plan.starter else ()
        yield cost(plan, "communication", (*small, *some), processes=plan.gpus or 2)


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
        hardware=f"{plan.gpus} GPUs",
        updates=("hardware",),
        processes=processes,
    )


def study(plan: Plan) -> Iterator[Step]:
    """Each method tuned, scaled and trained with noise, when that is asked for."""
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
