"""The stages and their steps: from the data to the page."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from catlip.data.layout import FASHION_MNIST_DIR, find_layout, validation_of
from catlip.program.methods import crossed_methods, methods
from catlip.system.foreign import read_json
from catlip.system.urls import is_remote
from pipeline.options import DRAWINGS, SEEDS, Options, count_gpus
from pipeline.step import Step


class Plan:
    """Folders, names, and the arguments of all programs."""

    def __init__(self, options: Options):
        self.options = options
        self.runs = options.runs
        self.starter = options.scale == "starter"
        self.small = options.small
        self.recipe = options.scale if self.small else f"{options.scale}_b16"
        self.gpus = count_gpus(options.device)
        # A program of a small encoder does not use several cores. With several GPUs, each program
        # of one process gets one GPU.
        self.beside = self.gpus > 1 or (self.small and not self.gpus)
        self.processes = 1 if self.small else max(self.gpus, 1)  # of a training
        # Seeds of the slow steps after pre-training; by default one, so that a whole run takes half
        # an hour.
        brief = self.small and not (options.full or options.study)
        self.few_seeds = range(1 if brief else options.seeds)
        self.seeds = range(options.seeds)
        # Of a CLIP that is worse beside a better one, a default run trains one.
        is_brief = brief and options.seeds == SEEDS and "clip_bag" in options.methods
        self.trained = [
            (method, seed)
            for seed, method in product(self.seeds, options.methods)
            if seed == 0 or not (is_brief and methods()[method].may_be_packed)
        ]
        self.encoders = [*self.trained, *(("random", seed) for seed in self.seeds)]
        self.quiet = ("--quiet",) if options.quiet else ()
        self.device = ("--device", options.device, *self.quiet)
        self.labels = self.runs / "labels"
        self.vocabulary = self.runs / "vocabulary.json"
        self.probe_data = path_of(options.probe)
        # Task -> the arguments of its linear probe, the main task first.
        how = ["--recipe", "table_7a", "--num-workers", "8"]
        if self.small:
            how = ["--recipe", "starter", "--fraction", "0.05", "0.1", "0.25", "0.5", "1"]
            how += ["--seeds", "3"]
        how += ["--init", "random", "transfer", "names"]  # each encoder takes those that it has
        self.probes = dict.fromkeys((options.probe, *options.more_probes), how)
        if self.small and options.probe:
            self.probes |= self.far_probes()
        self.encoder = options.encoder or ("hybrid_mini" if self.small else "vit_b16")
        self.resolution = 48 if self.small else 224

    def far_probes(self) -> dict[str, list[str]]:
        """Tasks on other pictures than the main task's, unless the user gives them; the drawings
        only if the stage `data` makes or made them.
        """
        far, how = {}, ["--recipe", "starter", "--init", "random", "transfer"]
        if "data" in self.options.stages or Path("data/starter/starter.json").is_file():
            # Fractions of them would take twice as long.
            far[DRAWINGS] = [*how, "names", "--fraction", "1", "--seeds", "3"]
        if FASHION_MNIST_DIR.is_dir():  # the smallest fraction is six images a class
            fractions = ["--fraction", "0.001", "0.01", "0.1", "1"]
            far[f"fashion_mnist:{FASHION_MNIST_DIR}"] = [*how, *fractions]
        given = {find_layout(data).name for data in self.probes}
        return {data: far[data] for data in far if find_layout(data).name not in given}

    def tuned(self, method: str) -> Path:
        """The file of a method's best recipe, which `bench.study tuning` writes."""
        return self.runs / "tuning" / f"{method}.py"

    def recipe_of(self, method: str) -> str:
        return f"{self.tuned(method)}:tuned" if self.options.tune else self.recipe

    def encoder_of(self, method: str, seed: int) -> Path:
        """The folder of a pre-training run; `random` is an encoder that was not trained."""
        if method == "random":
            return Path(f"random:{self.encoder}@{self.resolution}")
        return self.runs / "pretrain" / f"{method}-seed{seed}"


def path_of(probe: str) -> str:
    """The folder of a probe's images, or the pattern of its remote shards."""
    path = probe.partition(":")[2] or probe
    return f"{path}/*/*.tar" if is_remote(path) else path


def step(
    name: str,
    program: str,
    arguments: Iterable[object] = (),
    other: Iterable[object] = (),
    *,
    out: Path | None = None,
    reads: Iterable[object] = (),
    **more: Any,
) -> Step:
    """A step whose arguments may be paths, and whose result goes to `out`."""
    if out:
        other, more = ("--out", out, *other), {"makes": [out], **more}
    words = [[*map(str, group)] for group in (arguments, other, reads)]
    return Step(name, program, words[0], other_arguments=words[1], reads=words[2], **more)


def data(plan: Plan) -> Iterator[Step]:
    """What the user does not have; the starter data set, if it is probed."""
    updates = ("code", "command")
    for source in plan.options.sources:
        if source.folder:
            yield step(
                "fetch",
                "catlip.data.fetch",
                (source.url, "--side", source.side),
                ("--yes", *plan.quiet),
                out=Path(source.folder),
                updates=updates,
            )
    if table := plan.options.table:
        columns = {name: getattr(plan.options, f"{name}_column") for name in ("image", "text")}
        flags = [word for n, c in columns.items() if c for word in (f"--{n}-column", c)]
        yield step(
            "fetch",
            "catlip.data.fetch",
            (table, *flags, "--side", 128 if plan.small else 256),
            plan.quiet,
            out=Path(plan.options.shards).parent,
            always=True,  # the program looks at every file, and makes again what has changed
        )
    if DRAWINGS in plan.probes:
        out = Path("data/starter")
        yield step("data", "catlip.data.starter", other=plan.quiet, out=out, updates=updates)


def label(plan: Plan) -> Iterator[Step]:
    """Captions to labels, labels to a vocabulary, and statistics of both."""
    shards, labels, vocabulary = plan.options.shards, plan.labels, plan.vocabulary
    to_labels = ("--labels-dir", labels, *plan.quiet)
    words = ("--words", plan.options.words) if plan.options.words else ()
    yield step(
        "label",
        "catlip.label",
        [shards, *words],
        to_labels,
        reads=[shards, *words[1:]],
        makes=[labels],
        owns=[labels],
        updates=("inputs",),
    )
    # At photos scale, by default, the program chooses one that fits the number of captions.
    default = {"starter": "16", "photos": ""}.get(plan.options.scale, "500")
    threshold = plan.options.threshold or default
    counted = (labels, *(("--threshold", threshold) if threshold else ()))
    yield step(
        "vocabulary", "catlip.vocabulary", counted, plan.quiet, out=vocabulary, reads=[labels]
    )
    stats, made = ("stats", vocabulary), [plan.runs / "vocabulary/vocabulary-statistics.json"]
    yield step("statistics", "catlip.vocabulary", stats, reads=[vocabulary], makes=made)
    drawn, record = (shards, "--vocabulary", vocabulary), plan.runs / "examples/examples.json"
    yield step("examples", "catlip.examples", drawn, out=record, reads=[shards, vocabulary])
    yield step("audit", "catlip.label", ("audit", shards, *words), to_labels, reads=[shards])


def tune(plan: Plan) -> Iterator[Step]:
    """With --tune, the trials of each method, and its best recipe."""
    if plan.options.tune:
        yield from study_steps(plan, tuning_part(plan))


def pretrain(plan: Plan) -> Iterator[Step]:
    """One training per seed and method, by the method's recipe of the scale, or its tuned one."""
    options = plan.options
    for method, seed in plan.trained:
        folder = plan.encoder_of(method, seed)
        recipe = plan.recipe_of(method)
        arguments: list[object] = ["--recipe", recipe, "--shards", options.shards, "--seed", seed]
        reads: list[object] = [options.shards, *([plan.tuned(method)] if options.tune else [])]
        if options.epochs:
            arguments += ["--epochs", options.epochs]
        if options.encoder:
            arguments += ["--encoder", options.encoder]
        if method != "catlip":
            arguments += ["--method", method]
        if plan.small and methods()[method].may_be_packed:
            arguments += ["--packed-captions"]
        if methods()[method].may_need_nouns:
            arguments += ["--vocabulary", plan.vocabulary, "--labels-dir", plan.labels]
            reads += [plan.vocabulary, plan.labels]
        record = folder.with_suffix(".json")
        yield step(
            folder.name,
            "catlip.pretrain" if method == "catlip" else "baselines.pretrain",
            arguments,
            plan.device,
            out=folder,
            reads=reads,
            makes=[folder / "weights.safetensors", record],
            owns=[folder, record],
            methods=[method],
            processes=plan.processes,
            beside=plan.beside,
        )
        if not plan.small and options.probe:  # days before the probes and the fine-tuning
            yield encoder_step(plan, "readouts", method, seed, (options.probe, plan.probe_data))


def transfer(plan: Plan) -> Iterator[Step]:
    """How good the encoders are: probes, fine-tuning, readouts, if a probe has data; retrieval."""
    options = plan.options
    probe, methods = (options.probe, plan.probe_data), options.methods
    if not options.probe:
        yield from retrieval(plan)
        return
    for task, (method, seed) in product(plan.probes, plan.encoders):
        name = f"{method}-seed{seed}"
        if task != options.probe:
            name += f"-{find_layout(task).name}"
        probe_data = (task, path_of(task))
        yield encoder_step(
            plan, "linear_probe", method, seed, probe_data, plan.probes[task], name=name
        )
    # At a small scale it ends below the probe, and says how short it is: docs/transfer.md.
    if not plan.starter and (options.full or not plan.small):
        how = ["--recipe", "table_7b", "--num-workers", "8"]
        if plan.small:
            how = ["--recipe", "starter", "--fraction", "0.25", "1"]
        how += ["--init", "random", "transfer"]
        for method, seed in plan.encoders:
            yield encoder_step(plan, "finetune", method, seed, probe, how)
    if options.full and not plan.starter:
        for method, seed in plan.encoders:
            sweep = ("--protocol", "l2_sweep")
            yield encoder_step(plan, "linear_probe", method, seed, probe, sweep, kind="l2_probe")
    for method, seed in product(methods, plan.few_seeds if plan.small else ()):
        yield encoder_step(plan, "readouts", method, seed, probe)
    yield from retrieval(plan)
    if options.full:
        record = plan.runs / "ceiling/efficientnet_lite0.json"
        yield step(
            "ceiling",
            "bench.downstream.linear_probe",
            ("--encoder", "timm:tf_efficientnet_lite0:wheel", "--data", options.probe),
            plan.device,
            out=record,
            reads=[plan.probe_data],
            beside=plan.beside,
        )


def retrieval(plan: Plan) -> Iterator[Step]:
    """Captions that no encoder was trained on; of the starter, drawings of the probe's two test
    teams.
    """
    held_out = "data/starter/probe-test" if plan.starter else plan.options.held_out
    for method, seed in product(plan.options.methods, plan.few_seeds if held_out else ()):
        if methods()[method].scores_captions:
            yield encoder_step(plan, "retrieval", method, seed, (held_out, held_out))


def dense(plan: Plan) -> Iterator[Step]:
    """Multi-label classification, segmentation and detection, if there is data for them."""
    options = plan.options
    if plan.starter and options.coco:
        yield step(
            "scenes",
            "catlip.data.annotated_scenes",
            other=plan.quiet,
            out=Path("data/starter-scenes"),
            updates=("code", "command"),
        )
    tasks = {
        "multilabel": ("table_7c", "coco", options.coco),
        "segmentation": ("table_7d", "ade20k", options.ade20k),
        # Boxes of the starter's scenes do not distinguish methods from random init:
        # docs/transfer.md.
        "detection": ("table_7e_b16", "coco", "" if plan.starter else options.coco),
    }
    starts: dict[str, tuple[str, ...]] = dict.fromkeys(("random", *options.methods), ())
    for task, (recipe, kind, folder) in tasks.items():
        runs = starts
        if task == "multilabel" and "catlip" in options.methods:
            runs = starts | {"catlip_transfer": ("--init", "transfer")}
        for seed, (name, more) in product(plan.seeds if folder else (), runs.items()):
            method = name.removesuffix("_transfer")
            if (method, seed) not in plan.encoders:
                continue
            yield encoder_step(
                plan,
                task,
                method,
                seed,
                (f"{kind}:{folder}", folder),
                ("--recipe", "starter" if plan.small else recipe, *more, "--seed", str(seed)),
                name=f"{name}-seed{seed}",
                processes=plan.processes,
            )


def encoder_step(
    plan: Plan,
    program: str,
    method: str,
    seed: int,
    data: tuple[str, str],
    arguments: Sequence[str] = (),
    *,
    name: str = "",
    kind: str = "",
    processes: int = 1,
) -> Step:
    """A transfer program on an encoder, trained or not; `data` as it takes them, and their path."""
    name = name or f"{method}-seed{seed}"
    encoder = plan.encoder_of(method, seed)
    is_trained = method != "random"
    # An untrained encoder is drawn from the seed of the probe.
    if not is_trained and "--seed" not in arguments:
        arguments = (*arguments, "--seed", str(seed))
    what = kind or program
    record = plan.runs / what.removesuffix("s") / f"{name}.json"  # `readouts` write `readout`
    return step(
        f"{what}-{name}",
        f"bench.downstream.{program}",
        ("--encoder", encoder, "--data", data[0], *arguments),
        plan.device,
        out=record,
        reads=[data[1], encoder] if is_trained else [data[1]],
        owns=[record, record.with_suffix("")],
        processes=processes,
        beside=plan.beside,
    )


def bench(plan: Plan) -> Iterator[Step]:
    small = ("--model", "vit_tiny16") if plan.small else ()
    # CLIP's step takes as long as its captions.
    captions = () if plan.starter else ("--captions", plan.options.shards)
    compared = ("--methods", *plan.options.methods, "--packed-captions", *captions)
    yield measurement_step(plan, "step_time", ("--model", "vit_b16", *compared))
    if plan.small:
        # The starter's; of the vocabulary, and of the captions, where there are such.
        num_classes, in_use = "1097", "3657" if plan.starter else "0"
        if not plan.starter and plan.vocabulary.is_file():
            num_classes = str(len(read_json(plan.vocabulary, synsets=list)["synsets"]))
        as_trained = (
            *("--model", plan.encoder, "--resolution", plan.resolution, "--batch-size", "64"),
            *("--num-steps", "40", "--num-classes", num_classes, *compared),
            *("--tokens-in-use", in_use),
            *(() if plan.starter else ("--text-context", "32")),
        )
        yield measurement_step(
            plan, "step_time", as_trained, name=f"step_time_{plan.options.scale}"
        )
    yield measurement_step(plan, "memory", small)
    if not plan.small:
        yield measurement_step(plan, "waterfall")
    if plan.gpus != 1:
        same = ("--methods", *plan.options.methods)
        yield measurement_step(plan, "communication", (*small, *same), processes=plan.gpus or 2)


def measurement_step(
    plan: Plan,
    program: str,
    arguments: Iterable[object] = (),
    *,
    name: str = "",
    processes: int = 1,
) -> Step:
    """A measurement of this machine; its record is named after the device."""
    return step(
        name or program,
        f"bench.{program}",
        arguments,
        plan.device,
        out=plan.runs / program,
        methods=[*methods()],
        hardware=f"{plan.gpus} GPUs",
        updates=("hardware",),
        processes=processes,
    )


# Images that the trainings of the study of lengths see; fractions are compared at the middle
# length, encoders there and at the longest. The two longest cost more than all others together, and
# have fewer seeds.
LENGTHS = {
    "starter": ("8000", "16000", "32000", "64000", "128000"),
    "photos": ("8000", "16000", "32000", "64000", "128000"),
    "cc3m": ("18000000", "36000000", "72000000", "145000000", "290000000"),
    "datacomp": ("800000000", "1600000000", "3300000000", "6500000000", "13100000000"),
}
FRACTIONS = ("0.125", "0.25", "0.5")
PAPER_THRESHOLDS = ("100", "500", "1000", "2500", "5000")  # Figure 6, x axis
LONGER = "256000"  # does the order of the methods stay?
LONGEST = "694300"  # 25 epochs, the paper's shortest training on CC3M
SEEDS_OF_PART, SEEDS_OF_LONGEST = 6, 3
TRIALS, FINALISTS = "16", "4"
FINAL = "138880"  # the starter's five epochs in whole steps of every batch that is tried


@dataclass(frozen=True)
class Part:
    """A part of the study: a command for each method, by default the options' methods. Several
    parts may write to the folder of a kind; `records` are the names of this part's records. A
    `recipe` is one for that part, each METHOD's own.
    """

    name: str
    program: str
    kind: str
    arguments: Sequence[str]
    records: Sequence[str]
    seeds: int = SEEDS_OF_PART
    methods: Sequence[str] = ()
    recipe: str = ""


def tuning_part(plan: Plan) -> Part:
    trials: tuple[str, ...] = ("--trials", TRIALS, "--finalists", FINALISTS)
    if plan.options.epochs:
        trials = (*trials, "--epochs", plan.options.epochs)
    elif plan.starter:
        trials = (*trials, "--final-images", FINAL)
    if plan.options.encoder:
        trials = (*trials, "--encoder", plan.options.encoder)
    return Part("tuning", "tuning", "tuning", trials, ["*"], seeds=0)


def parts_of(plan: Plan) -> Iterator[Part]:
    *short, longer, longest = LENGTHS[plan.options.scale]
    middle = short[-1]
    usual, encoders = "vit_b16", ("vit_small16", "vit_l16")
    if plan.small:
        usual, encoders = "hybrid_mini", ("hybrid_micro", "hybrid_small")
        yield tuning_part(plan)  # a trial of the other scales takes days

    def lengths(
        name: str, images: Sequence[str], models: Sequence[str], *more: str, **options: Any
    ) -> Part:
        records = [f"{model}-{length}-seed*" for model in models for length in images]
        arguments = ("--images", *images, *more)
        return Part(name, "lengths", "scaling", arguments, records, **options)

    few, sizes = SEEDS_OF_LONGEST, ("--encoders", *encoders)
    yield lengths("lengths", short, [usual])
    yield lengths("encoders", [middle], encoders, *sizes)
    fractions = ("--images", middle, "--fractions", *FRACTIONS)
    yield Part("fractions", "lengths", "scaling", fractions, ["*-of-*"])
    yield lengths("long", [longer, longest], [usual], seeds=few)
    yield lengths("long-encoders", [longest], encoders, *sizes, seeds=few)
    prunings = ("--images", middle) if plan.small else ("--thresholds", *PAPER_THRESHOLDS)
    yield Part("thresholds", "thresholds", "threshold", prunings, [])
    if plan.starter:
        yield lengths("longer", [LONGER], [usual], seeds=10)
        tuned = "reports/records/starter/tuning-25/METHOD.py:tuned"  # for this length
        crossed = [*crossed_methods().values()]
        yield lengths("losses-and-words", [LONGEST], [usual], methods=crossed, recipe=tuned)


def study(plan: Plan) -> Iterator[Step]:
    """With --study: each method tuned alike, trained at several lengths, on fractions of the data
    and by several encoders; losses and words crossed; CatLIP with several vocabularies.
    """
    for part in parts_of(plan) if plan.options.study else ():
        yield from study_steps(plan, part)


def study_steps(plan: Plan, part: Part) -> Iterator[Step]:
    options, arguments, probe = plan.options, list(part.arguments), plan.options.probe
    is_tuning = part.program == "tuning"
    if is_tuning:
        probe = validation_of(probe)
    else:
        arguments += ["--seeds", *map(str, plan.seeds[: part.seeds])]
    arguments += ["--probe", probe, "--probe-recipe", "starter" if plan.small else "table_7a"]
    out = plan.runs / part.kind
    earlier = Path("reports/records") / options.scale / part.kind
    other = ("--labels-dir", plan.labels, "--out", out, "--earlier", earlier, *plan.device)
    reads: list[object] = [options.shards, plan.labels, plan.probe_data]

    def of_study(name: str, method: str, *classes: object, **more: Any) -> Step:
        is_tuned = options.tune and not is_tuning
        recipe = plan.recipe_of(method) if is_tuned else plan.recipe
        recipe = part.recipe.replace("METHOD", method) or recipe
        file = recipe.rpartition(":")[0]
        return step(
            f"study-{name}",
            "bench.study",
            [part.program, "--recipe", recipe, "--shards", options.shards, *classes, *arguments],
            other,
            reads=[*reads, *([file] if file else [])],
            beside=plan.beside,
            **more,
        )

    if part.program == "thresholds":
        record = out / "threshold.json"
        yield of_study(part.name, "catlip", makes=[record], owns=[record, out / "threshold"])
        return
    reads.append(plan.vocabulary)
    for method in part.methods or options.methods:
        makes = [out / f"{method}-{record}.json" for record in part.records]
        makes += [plan.tuned(method)] if is_tuning else []
        classes = ("--vocabulary", plan.vocabulary, "--methods", method)
        yield of_study(f"{part.name}-{method}", method, *classes, makes=makes, methods=[method])


def report(plan: Plan) -> Iterator[Step]:
    records = ("--records", plan.options.out, "reports/records")
    yield step("report", "reports", (*records, "--out", "report"), always=True)


STEPS: dict[str, Callable[[Plan], Iterator[Step]]] = {
    stage.__name__: stage
    for stage in (data, label, tune, pretrain, transfer, dense, bench, study, report)
}


def steps_of(stage: str, options: Options) -> list[Step]:
    return list(STEPS[stage](Plan(options)))
