"""The transfer stage: how good the encoders are at classification, also of Fashion-MNIST."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from catlip.data.layout import INSTALLED as FASHION_MNIST
from pipeline.plan import TRANSFER, Plan
from pipeline.step import Step, say

TABLE_7 = {"linear_probe": "table_7a", "finetune": "table_7b"}
BATCH = {"linear_probe": 256, "finetune": 128}  # images a step in these recipes
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
        both = ("--init", "random", "transfer")
        probes = (*by_recipe, *STARTER_FRACTIONS, *both, "--seeds", "3")
        tuned = (*by_recipe, "0.25", "1", *both)
        yield from sweeps(plan, "linear_probe", probes, methods=every, seeds=plan.options.seeds)
        yield from sweeps(plan, "finetune", tuned, methods=every, seeds=plan.few_seeds)
    else:
        for program, recipe in TABLE_7.items():
            whole = ("--recipe", recipe, "--init", "random", "transfer", "--num-workers", "8")
            yield from sweeps(plan, program, whole, methods=every, seeds=plan.options.seeds)
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


def sweeps(
    plan: Plan, program: str, arguments: tuple[str, ...], *, methods: Sequence[str], seeds: int
) -> Iterator[Step]:
    """A program on each encoder of these methods, one step each; with several GPUs on all of them.

    Args:
        seeds: how many encoders of each method.
    """
    ranks = 1 if plan.small else math.gcd(max(1, plan.gpus), BATCH[program])
    if ranks > 1:  # the recipe's batch, divided among the devices
        batch = BATCH[program] // ranks
        arguments = (*arguments, "--micro-batch", str(batch), "--num-devices", str(ranks))
    for method in methods:
        for seed in range(seeds):
            trained, encoder = [], plan.untrained
            if method != "random":
                encoder = str(plan.trained(method, seed))
                trained = [encoder]
            record = plan.record(program, f"{method}-seed{seed}")
            seeded = () if trained else ("--seed", str(seed))
            yield Step(
                f"{program}-{record.stem}",
                program=f"{TRANSFER}.{program}",
                arguments=(
                    *("--encoder", encoder, "--data", plan.options.probe),
                    *seeded,
                    *arguments,
                ),
                other_arguments=("--out", str(record), *plan.device),
                reads=[*trained, plan.probe_data],
                makes=[record],
                owns=[record, record.with_suffix("")],
                processes=ranks,
                beside=plan.beside,
            )
