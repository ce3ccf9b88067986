"""Plans, prints and writes the record."""

import itertools
from collections.abc import Sequence

from bench.measuring import methods
from bench.plan import result
from bench.plan.config import Plan
from bench.plan.rates import Machine, machines
from bench.plan.result import plan_table
from bench.plan.runs import check, planned
from catlip.cli import InputError, run
from catlip.record import Record
from catlip.table import print_tables

NOTES = [
    "assumes no failures, stragglers or waiting for images; published OpenCLIP trainings of "
    "ViT-B/16 reached 13 to 16 % of the datasheet, a half to a third of what is assumed here",
    "the time of a step, without the optimizer if it was measured, is assumed to be linear in the "
    "images on a device: small batches are slower than that",
    "memory is the computed peak; a tenth of the device is left to the driver and NCCL",
]


def main(config: Plan) -> None:
    """Plan, print, write the record."""
    every = list(machines(config))
    told = every[:1] if config.step_time else every
    runs = []
    for machine, devices in itertools.product(told, config.gpus):
        runs += planned(config, machine, devices)
    if not runs:
        raise InputError("not even one image fits on a device; give more devices, or larger ones")
    path = config.out / f"{_name(told, config.gpus)}.json"
    with Record(path, kind=result.Plan, config=config) as record:
        record.shown_as = methods.shown(dict.fromkeys(row.method for row in runs))
        record.notes += NOTES
        plan = record.measured(
            result.Plan(
                images=config.images,
                price=config.price,
                runs=runs,
                checks=[check(path, every) for path in config.against],
            )
        )
    table = plan_table(plan)
    print_tables([table])
    print("\n".join([table.caption, *record.notes]))
    print(f"wrote {record.path}")


def _name(every: Sequence[Machine], gpus: Sequence[int]) -> str:
    """`vit_b16-h100-64` of the models, devices and their numbers."""
    parts = [
        dict.fromkeys(machine.model for machine in every),
        dict.fromkeys(machine.name.lower().replace(" ", "_") for machine in every),
        gpus,
    ]
    return "-".join("_".join(map(str, part)) for part in parts)


if __name__ == "__main__":
    run(Plan, main)
