"""The stage of multi-label classification, segmentation and detection."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.plan import TRANSFER, Plan
from pipeline.step import Step

DENSE_RECIPES = {"multilabel": "table_7c", "segmentation": "table_7d", "detection": "table_7e_b16"}


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
        train = partial(dense_training, plan, task, folder)
        for seed in range(options.seeds):
            for method in ("random", *options.methods):
                yield train(method=method, seed=seed)
            if task == "multilabel" and "catlip" in options.methods:
                yield train(
                    method="catlip",
                    seed=seed,
                    name=f"catlip_transfer-seed{seed}",
                    arguments=("--init", "transfer"),
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
    name = name or f"{method}-seed{seed}"
    trained = method != "random"
    encoder = str(plan.trained(method, seed)) if trained else plan.untrained
    recipe = "starter" if plan.small else DENSE_RECIPES[task]
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
        processes=1 if plan.small else max(plan.gpus, 1),
        beside=plan.beside,
    )
