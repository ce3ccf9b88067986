"""The second half of `./run_all.sh`, in Python: check the options, then run the stages' steps."""

import shlex
import sys
from functools import partial
from itertools import groupby

from catlip.program.errors import InputError, in_words
from catlip.system.lock import only_writer
from catlip.system.urls import take_credentials
from pipeline import stages
from pipeline.options import HELP, Options, announce, announcement, count_gpus, read_options
from pipeline.programs import side_by_side, stopped_by_signals
from pipeline.step import StepFailedError, StoppedError, run_step


def main(arguments: list[str]) -> int:
    """Run or show the steps; returns the exit code. With `--stages` first, print the wanted stages
    if the other arguments are valid: run_all.sh asks so before it installs anything.
    """
    if {"--help", "-h"} & {*arguments}:
        print(HELP, end="")
        return 0
    try:
        # The commands of steps then hold no credentials; their programs inherit them from this
        # process.
        arguments = [*map(take_credentials, arguments)]
        if arguments[:1] == ["--stages"]:
            options = read_options(arguments[1:])
            if not options.dry_run:
                announce(options)
            print(*options.stages)
        else:
            run(read_options(arguments))
    except StoppedError as error:
        print(error, file=sys.stderr)
        return error.code
    except (InputError, StepFailedError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code if isinstance(error, StepFailedError) else 2
    except OSError as error:
        print(f"error: {in_words(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def run(options: Options) -> None:
    """Run every step of the wanted stages, or only print their commands."""
    wanted = [stage for stage in options.stages if stage != "setup"]
    if options.dry_run:
        for line in announcement(options).splitlines():
            print(f"# {line}")
        for stage in wanted:
            for step in stages.steps_of(stage, options):
                print(shlex.join(step.command(options.python)))
        return
    announce(options)
    run_one = partial(run_step, runs=options.runs, python=options.python)
    with only_writer(options.runs / ".steps"), stopped_by_signals():
        for stage in wanted:
            # The steps of a later stage may follow from an earlier one's results.
            steps = stages.steps_of(stage, options)
            for beside, group in groupby(steps, lambda step: step.beside and step.processes == 1):
                if beside:
                    side_by_side(run_one, list(group), count_gpus(options.device))
                else:
                    for step in group:
                        run_one(step)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
