"""The stages and their steps: from the data to the page."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from catlip.data.layout import INSTALLED as FASHION_MNIST
from catlip.system.urls import is_remote
from pipeline.inputs import baselines
from pipeline.options import Options, count_gpus
from pipeline.step import Step, say


class Plan:
    """Folders, names, and the arguments of all programs."""

    def __init__(self, options: Options):
        self.options = options
        self.runs = options.runs
        self.starter = options.scale == "starter"
        self.small = options.small
        self.recipe = options.scale if self.small else f"{options.scale}_b16"
        self.gpus = count_gpus(options.device)
        # Programs of a small encoder are too small for several cores each; with several GPUs, each
        # program of one process has one of them.
        several = self.gpus > 1 or (self.small and not self.gpus)
        self.beside = several and hasattr(os, "sched_getaffinity")
        self.processes = 1 if self.small else max(self.gpus, 1)  # of a training
        # Seeds of the slow steps after pre-training; by default one, so that a whole run takes half
        # an hour.
        brief = self.small and not (options.full or options.study)
        self.few_seeds = range(1 if brief else options.seeds)
        self.seeds = range(options.seeds)
        self.quiet = ("--quiet",) if options.quiet else ()
        self.device = ("--device", options.device, *self.quiet)
        self.labels = self.runs / "labels"
        self.vocabulary = self.runs / "vocabulary.json"
        self.probe_data = options.probe.partition(":")[2] or options.probe
        if is_remote(self.probe_data):
            self.probe_data += "/*/*.tar"
        self.encoder = options.encoder or ("hybrid_mini" if self.small else "vit_b16")
        self.resolution = 48 if self.small else 224

    def record(self, kind: str, name: str) -> Path:
        return self.runs / kind / f"{name}.json"

    def trained(self, method: str, seed: int) -> Path:
        """The folder of a pre-training run; `random` is an encoder that was not trained."""
        if method == "random":
            return Path(f"random:{self.encoder}@{self.resolution}")
        return self.runs / "pretrain" / f"{method}-seed{seed}"


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
    # At photos scale, by default, the program chooses one that fits the number of captions.
    default = {"starter": "16", "photos": ""}.get(plan.options.scale, "500")
    threshold = plan.options.threshold or default
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
        arguments=(str(labels), *(("--threshold", threshold) if threshold else ())),
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
    """One training per seed and method, by the method's recipe of the same name."""
    shards, labels, vocabulary = plan.options.shards, str(plan.labels), str(plan.vocabulary)
    for seed, method in product(plan.seeds, plan.options.methods):
        folder = plan.trained(method, seed)
        arguments = ["--recipe", plan.recipe, "--shards", shards, "--seed", str(seed)]
        reads = [shards]
        if plan.options.epochs:
            arguments += ["--epochs", plan.options.epochs]
        if plan.options.encoder:
            arguments += ["--encoder", plan.options.encoder]
        if method != "catlip":
            arguments += ["--method", method]
        if method != "clip":  # any other method may need labels
            arguments += ["--vocabulary", vocabulary, "--labels-dir", labels]
            reads += [vocabulary, labels]
        record = plan.record("pretrain", folder.name)
        yield Step(
            folder.name,
            program="catlip.pretrain" if method == "catlip" else "baselines.pretrain",
            arguments=arguments,
            other_arguments=("--out", str(folder), *plan.device),
            reads=reads,
            makes=[folder / "weights.safetensors", record],
            owns=[folder, record],
            methods=[method],
            processes=plan.processes,
            beside=plan.beside,
        )


def transfer(plan: Plan) -> Iterator[Step]:
    """How good the encoders are: probes and fine-tuning on fractions of the data, and readouts
    without training. No step if there is no data for them.
    """
    probe = plan.options.probe
    if not probe:
        return
    methods = plan.options.methods
    recipes = {"linear_probe": "table_7a", "finetune": "table_7b"}
    more: dict[str, tuple[str, ...]] = dict.fromkeys(recipes, ("--num-workers", "8"))
    if plan.small:
        recipes = dict.fromkeys(recipes, "starter")
        fractions = ("--fraction", "0.05", "0.1", "0.25", "0.5", "1", "--seeds", "3")
        more = {"linear_probe": fractions, "finetune": ("--fraction", "0.25", "1")}
    for program, recipe in recipes.items():
        seeds = plan.few_seeds if plan.small and program == "finetune" else plan.seeds
        # An encoder without a classifier starts only at random.
        arguments = ("--recipe", recipe, *more[program], "--init", "random", "transfer")
        for method, seed in product((*methods, "random"), seeds):
            yield on_encoder(
                plan,
                program,
                method,
                seed=seed,
                data=probe,
                reads=plan.probe_data,
                arguments=arguments,
            )
        if plan.options.full and not plan.starter and program == "linear_probe":
            for method, seed in product((*methods, "random"), seeds):
                yield on_encoder(
                    plan,
                    program,
                    method,
                    seed=seed,
                    data=probe,
                    reads=plan.probe_data,
                    arguments=("--protocol", "l2_sweep"),
                    kind="l2_probe",
                )
    for method, seed in product(methods, plan.few_seeds):
        yield on_encoder(plan, "readouts", method, seed=seed, data=probe, reads=plan.probe_data)
    if plan.options.full:
        record = plan.record("ceiling", "efficientnet_lite0")
        yield Step(
            "ceiling",
            program="bench.downstream.linear_probe",
            arguments=("--encoder", "timm:tf_efficientnet_lite0:wheel", "--data", probe),
            other_arguments=("--out", str(record), *plan.device),
            reads=[plan.probe_data],
            makes=[record],
            beside=plan.beside,
        )
        yield from fashion_mnist(plan)


def fashion_mnist(plan: Plan) -> Iterator[Step]:
    """A linear probe of each encoder on Fashion-MNIST, and a readout without training; only a line
    that says so if Fashion-MNIST is not installed.
    """
    if not (plan.options.dry_run or FASHION_MNIST.is_dir()):
        say(
            f"Fashion-MNIST: skipped, because {FASHION_MNIST} is missing; "
            "`apt-get install dataset-fashion-mnist` installs it"
        )
        return
    # The smallest fraction is six images a class.
    fractions = ("--recipe", "starter", "--fraction", "0.001", "0.01", "0.1", "1")
    programs = {"linear_probe": (*fractions, "--init", "random", "transfer"), "readouts": ()}
    for method, seed in product((*plan.options.methods, "random"), plan.seeds):
        for program, arguments in programs.items():
            if (method, program) != ("random", "readouts"):
                yield on_encoder(
                    plan,
                    program,
                    method,
                    seed=seed,
                    data=f"fashion_mnist:{FASHION_MNIST}",
                    reads=str(FASHION_MNIST),
                    arguments=arguments,
                    name=f"{method}-seed{seed}-fashion_mnist",
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
    tasks = {
        "multilabel": ("table_7c", "coco", options.coco),
        "segmentation": ("table_7d", "ade20k", options.ade20k),
        "detection": ("table_7e_b16", "coco", options.coco),
    }
    for task, (recipe, kind, folder) in tasks.items():
        if not folder:
            continue
        arguments = ("--recipe", "starter" if plan.small else recipe)
        for seed in plan.seeds:
            # Name -> method and further arguments.
            runs: dict[str, tuple[str, tuple[str, ...]]]
            runs = {method: (method, ()) for method in ("random", *options.methods)}
            if task == "multilabel" and "catlip" in options.methods:
                runs["catlip_transfer"] = ("catlip", ("--init", "transfer"))
            for name, (method, more) in runs.items():
                yield on_encoder(
                    plan,
                    task,
                    method,
                    seed=seed,
                    data=f"{kind}:{folder}",
                    reads=folder,
                    arguments=(*arguments, *more, "--seed", str(seed)),
                    name=f"{name}-seed{seed}",
                    processes=plan.processes,
                )


def on_encoder(
    plan: Plan,
    program: str,
    method: str,
    *,
    seed: int,
    data: str,
    reads: str,
    arguments: Sequence[str] = (),
    name: str = "",
    kind: str = "",
    processes: int = 1,
) -> Step:
    """A transfer program on the encoder of a training, or on an untrained one (random).

    Args:
        reads: the path of the data, without its kind.
    """
    name = name or f"{method}-seed{seed}"
    encoder = str(plan.trained(method, seed))
    trained = method != "random"
    # An untrained encoder is drawn from the seed of the probe.
    if not trained and "--seed" not in arguments:
        arguments = (*arguments, "--seed", str(seed))
    step = kind or program
    record = plan.record(step.removesuffix("s"), name)  # `readouts` write kind `readout`
    return Step(
        f"{step}-{name}",
        program=f"bench.downstream.{program}",
        arguments=("--encoder", encoder, "--data", data, *arguments),
        other_arguments=("--out", str(record), *plan.device),
        reads=[reads, encoder] if trained else [reads],
        makes=[record],
        owns=[record, record.with_suffix("")],
        processes=processes,
        beside=plan.beside,
    )


def bench(plan: Plan) -> Iterator[Step]:
    """What a step costs on this machine."""
    small = ("--model", "vit_tiny16") if plan.small else ()
    compared = ("--methods", *plan.options.methods)
    yield cost(plan, "step_time", ("--model", "vit_b16", *compared))
    if plan.small:
        num_classes = "1097"  # the starter's; of the vocabulary where there is one
        if not plan.starter and plan.vocabulary.is_file():
            num_classes = str(len(json.loads(plan.vocabulary.read_text())["synsets"]))
        as_trained = (
            *("--model", plan.encoder, "--resolution", str(plan.resolution), "--batch-size", "64"),
            *("--num-steps", "40", "--num-classes", num_classes, *compared),
        )
        yield cost(plan, "step_time", as_trained, name=f"step_time_{plan.options.scale}")
    yield cost(plan, "memory", small)
    if not plan.small:
        yield cost(plan, "waterfall")
    if plan.gpus != 1:
        some = ("--methods", "catlip", "clip", "siglip", "superclass") if plan.small else ()
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
        methods=[*baselines()],
        hardware=f"{plan.gpus} GPUs",
        updates=("hardware",),
        processes=processes,
    )


# Images that the trainings of the study of lengths see; fractions and noises are compared at the
# middle length, encoders there and at the longest. The two longest cost more than all others
# together, and have fewer seeds.
LENGTHS = {
    "starter": ("8000", "16000", "32000", "64000", "128000"),
    "photos": ("8000", "16000", "32000", "64000", "128000"),
    "cc3m": ("18000000", "36000000", "72000000", "145000000", "290000000"),
    "datacomp": ("800000000", "1600000000", "3300000000", "6500000000", "13100000000"),
}
FRACTIONS = ("0.125", "0.25", "0.5")
PAPER_THRESHOLDS = ("100", "500", "1000", "2500", "5000")  # Figure 6, x axis
NOISES = ("none", "lost=0.4", "shuffled=0.2", "chatty=1")
SEEDS, SEEDS_OF_LONGEST = 6, 3
TRIALS = 16


def study(plan: Plan) -> Iterator[Step]:
    """With --study: each method tuned alike, trained at several lengths, on fractions of the data,
    by several encoders and with noise; CatLIP with several vocabularies.
    """
    options = plan.options
    if not options.study:
        return
    *short, longer, longest = LENGTHS[options.scale]
    middle = short[-1]
    usual, encoders = "vit_b16", ("vit_small16", "vit_l16")
    if plan.small:
        usual, encoders = "hybrid_mini", ("hybrid_micro", "hybrid_small")
    prunings = ("--images", middle) if plan.small else ("--thresholds", *PAPER_THRESHOLDS)
    # Part -> program and arguments, and the records of a part where others are in the same folder.
    lengths = "lengths", "--images"
    parts: dict[str, tuple[tuple[str, ...], list[str]]] = {
        "lengths": ((*lengths, *short), [f"{usual}-{images}-seed*" for images in short]),
        "encoders": (
            (*lengths, middle, "--encoders", *encoders),
            [f"{encoder}-{middle}-seed*" for encoder in encoders],
        ),
        "fractions": ((*lengths, middle, "--fractions", *FRACTIONS), ["*-of-*"]),
        "long": (
            (*lengths, longer, longest),
            [f"{usual}-{images}-seed*" for images in (longer, longest)],
        ),
        "long-encoders": (
            (*lengths, longest, "--encoders", *encoders),
            [f"{encoder}-{longest}-seed*" for encoder in encoders],
        ),
        "noise": (("noise", "--images", middle, "--noises", *NOISES), ["*"]),
        "thresholds": (("thresholds", *prunings), []),
    }
    if plan.starter:  # at other scales the user has to say what validation data are
        parts = {"tuning": (("tuning", "--trials", str(TRIALS)), ["*"]), **parts}
    kinds = {"lengths": "scaling", "noise": "robustness", "thresholds": "threshold"}
    for name, ((program, *arguments), patterns) in parts.items():
        probe, seeds = options.probe, plan.seeds[:SEEDS]
        if name.startswith("long"):
            seeds = plan.seeds[:SEEDS_OF_LONGEST]
        if program == "tuning":
            probe = probe.replace("starter:", "starter-validation:", 1)
        else:
            arguments += ["--seeds", *map(str, seeds)]
        arguments += ["--probe", probe, "--probe-recipe", "starter" if plan.small else "table_7a"]
        out = plan.runs / kinds.get(program, program)
        earlier = Path("reports/records") / options.scale / out.name
        places = ("--labels-dir", str(plan.labels), "--out", str(out), "--earlier", str(earlier))
        reads = [options.shards, str(plan.labels), plan.probe_data]
        common = (program, "--recipe", plan.recipe, "--shards", options.shards)
        step = Step(
            f"study-{name}",
            program="bench.study",
            arguments=(*common, *arguments),
            other_arguments=(*places, *plan.device),
            reads=reads,
            beside=plan.beside,
        )
        if program == "thresholds":
            record = out / "threshold.json"
            yield replace(step, makes=[record], owns=[record, out / "threshold"])
            continue
        for method in options.methods:
            classes = ("--vocabulary", str(plan.vocabulary), "--methods", method)
            yield replace(
                step,
                name=f"study-{name}-{method}",
                arguments=(*common, *classes, *arguments),
                reads=[*reads, str(plan.vocabulary)],
                makes=[out / f"{method}-{pattern}.json" for pattern in patterns],
                methods=[method],
            )


def report(plan: Plan) -> Iterator[Step]:
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
