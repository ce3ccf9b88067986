"""The transfer stage: how good the encoders are at classification, also of Fashion-MNIST."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from catlip.data.layout import INSTALLED as FASHION_MNIST
from pipeline.plan import TRANSFER, Plan
from pipeline.step import Step, say

STARTER_FRACTIONS = ("0.05", "0.1", "0.25", "0.5", "1")
# The smallest fraction is six images a class. An encoder without a classifier starts only at
# random.
PHOTOGRAPH_PROBE = (
    *("--recipe", "starter", "--fraction", "0.001", "0.01", "0.1", "1"),
    *("--init", "random", "transfer"),
)


def transfer(plan: Plan) -> Iterator[Step]:
    """How good the encoders are: probes along the training, probes and fine-tuning on fractions of
    the data, and readouts without training. No step if there is no data for them.
    """
    if not plan.options.probe:
        return
    probe, reads = plan.options.probe, [plan.probe_data]
    recipe = "starter" if plan.small else "table_7a"
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
    every = (*plan.options.methods, "random")
    if plan.small:
        by_recipe = ("--recipe", recipe, "--fraction")
        probes = (*by_recipe, *STARTER_FRACTIONS, "--seeds", "3")
        tuned = (*by_recipe, "0.25", "1")
        for method in every:  # each on a core of its own
            yield efficiency(plan, "linear_probe", probes, methods=[method])
        for method in every:
            yield efficiency(plan, "finetune", tuned, methods=[method], seeds=plan.few_seeds)
    else:
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
    if plan.options.full:
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
    """Fashion-MNIST: a linear probe of each encoder, and a readout without training.

    No step, only a line that says so, if Fashion-MNIST is not installed.
    """
    if not (plan.options.dry_run or FASHION_MNIST.is_dir()):
        say(
            f"Fashion-MNIST: skipped, because {FASHION_MNIST} is missing; "
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
    """The step that runs a program on an encoder and Fashion-MNIST."""
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
    """A program on the encoders of these methods and each fraction of the data; if there are
    several GPUs, one encoder runs on each.

    Args:
        seeds: how many encoders of each method; all of them by default.
    """
    seeds = seeds or plan.options.seeds
    of_methods = [method for method in methods if method != "random"]
    trained = [str(folder) for folder in plan.all_trained(of_methods, seeds)]
    encoders = [*trained, plan.untrained] if "random" in methods else trained
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
        reads=[*trained, plan.probe_data],
        makes=records,
        owns=[*records, *(record.with_suffix("") for record in records)],
        also=[f"{TRANSFER}.{program}"],
        beside=plan.beside,
    )
