"""The steps of run_all.sh: when one is skipped or runs again, and that nothing is deleted."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest
from one_line import one_line_error

import pipeline.inputs
import pipeline.stages
from catlip.system.lock import only_writer
from pipeline import inputs
from pipeline.inputs import digest_of_data
from pipeline.options import read_options
from pipeline.programs import Slot, side_by_side, slots
from pipeline.stages import Plan, parts_of, pretrain
from pipeline.step import Step, StepFailedError, run_step

REPOSITORY = Path(__file__).parent.parent

# A training: it goes on with what it finds in its folder, and stops half-way at a file `stop`.
STUB = """
import pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(parents=True, exist_ok=True)
with open(out / "log", "a") as log:
    log.write("ran ")
if pathlib.Path("stop").exists():
    sys.exit(7)
(out / "weights").write_text(pathlib.Path("data").read_text() + sys.argv[1])
"""


@pytest.fixture
def stub(tmp_path: Path, monkeypatch) -> Step:
    """A step that runs the program above, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline.inputs, "REPOSITORY", tmp_path)
    monkeypatch.setattr(pipeline.inputs, "PACKAGES", ("stub",))
    pipeline.inputs._sources.cache_clear()
    Path("stub.py").write_text(STUB)
    Path("data").write_text("images ")
    return Step(
        "train",
        program="stub",
        arguments=("--lr=1",),
        other_arguments=("--out", "runs/train"),
        reads=["data"],
        makes=[Path("runs/train/weights")],
        owns=[Path("runs/train")],
    )


def run(step: Step, runs: str = "runs") -> int:
    """Run a step; how often its program has run in its folder."""
    pipeline.inputs._read_source.cache_clear()
    run_step(step, Path(runs), sys.executable)
    return Path(step.makes[0]).with_name("log").read_text().count("ran")


def moved() -> list[Path]:
    return sorted(Path("runs").glob("train.old-*"))


@pytest.mark.parametrize(
    ("changes", "runs", "aside"),
    [
        ({}, 2, False),
        ({"other_arguments": ("--out", "runs/train", "--quiet", "--device", "cpu")}, 1, False),
        ({"processes": 8}, 1, False),
        ({"reads": ["copy"]}, 1, False),
        ({"arguments": ("--lr=2",)}, 1, True),
        ({"hardware": "8 GPUs"}, 1, True),
        ({"hardware": "8 GPUs", "updates": ("hardware",)}, 2, False),
    ],
)
def test_step_runs_again_where_what_determines_its_result_has_changed(stub, changes, runs, aside):
    """What an older version made is moved aside, unless the program itself keeps what it can."""
    run(stub)
    Path("copy").write_bytes(Path("data").read_bytes())
    if not changes:
        Path("runs/train/weights").unlink()
    assert run(replace(stub, **changes)) == runs
    assert bool(moved()) == aside
    if aside:
        assert (moved()[0] / "weights").read_text() == "images --lr=1"


@pytest.mark.parametrize("content", [b"", b'{"identity": {', b"[]", b"{}", b"\xff\xfe"])
def test_damaged_stamp_blocks_nothing_and_deletes_nothing(stub: Step, content, capsys) -> None:
    assert run(stub) == 1
    stamp = Path("runs/.steps/train.json")
    stamp.write_bytes(content)
    capsys.readouterr()
    assert run(stub) == 2
    assert str(stamp) in capsys.readouterr().err
    assert not moved()
    assert run(stub) == 2  # the stamp is whole again


def test_results_that_were_moved_with_their_stamps_are_not_made_again(stub: Step) -> None:
    run(stub)
    Path("runs").rename("elsewhere")
    folder = Path("elsewhere/train")
    there = replace(stub, other_arguments=("--out", str(folder)), owns=[folder])
    assert run(replace(there, makes=[folder / "weights"]), "elsewhere") == 1


def test_changed_data_and_changed_code_make_a_step_run_again(stub: Step) -> None:
    run(stub)
    Path("data").write_text("others ")
    assert run(stub) == 1
    assert Path("runs/train/weights").read_text() == "others --lr=1"
    Path("stub.py").write_text(f'"""A docstring."""\n# a comment\n{STUB}')
    assert run(stub) == 1
    assert len(moved()) == 1
    shutil.rmtree(moved()[0])  # names are by the second
    Path("stub.py").write_text(STUB.replace("ran ", "ran again "))
    assert run(stub) == 1
    assert len(moved()) == 1


@pytest.mark.parametrize(
    ("program", "late"),
    [("bench.step_time", "measure"), ("bench.plan", "planning"), ("catlip.verify", "replay")],
)
def test_code_of_a_function_that_is_imported_late_counts(program, late, monkeypatch) -> None:
    path, read = REPOSITORY.joinpath(*program.split("."), f"{late}.py"), Path.read_bytes
    before = inputs.digest_of_code([program])
    inputs._read_source.cache_clear()
    monkeypatch.setattr(Path, "read_bytes", lambda self: read(self) + b"NEW = 1\n" * (self == path))
    assert inputs.digest_of_code([program]) != before
    inputs._read_source.cache_clear()


def test_code_of_a_users_own_method_counts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CATLIP_METHODS", str(tmp_path))
    inputs._sources.cache_clear()
    digests = set()
    for line in ("NEW = 1\n", "NEW = 2\n"):
        (tmp_path / "mine.py").write_text(line)
        inputs._read_source.cache_clear()
        digests.add(inputs.digest_of_code(["baselines.mine"]))
    assert len(digests) == 2


def test_interrupted_step_goes_on_in_its_own_version(stub: Step) -> None:
    Path("stop").touch()
    with pytest.raises(StepFailedError) as failure:
        run(stub)
    assert failure.value.code == 7
    with pytest.raises(StepFailedError):
        run(stub)
    assert not moved()
    Path("stop").unlink()
    assert run(replace(stub, arguments=("--lr=2",))) == 1
    assert (moved()[0] / "log").read_text() == "ran ran "


def test_small_data_count_by_content_and_large_data_by_size_and_time(tmp_path, monkeypatch) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(2):
        (shards / f"{number}.tar").write_bytes(b"images")
    first = digest_of_data(str(shards))
    os.utime(shards / "0.tar", (1, 1))
    for spelling in (shards, shards / "{0..1}.tar", shards / "*.tar"):
        assert digest_of_data(str(spelling)) == first
    (shards / "0.tar").write_bytes(b"Images")
    assert digest_of_data(str(shards)) != first
    monkeypatch.setattr(pipeline.inputs, "CONTENT_LIMIT", 1)
    first = digest_of_data(str(shards))
    os.utime(shards / "0.tar", (2, 2))
    second = digest_of_data(str(shards))
    (shards / "1.tar").write_bytes(b"more images")
    assert len({first, second, digest_of_data(str(shards))}) == 3
    for missing in (shards / "{2..3}.tar", tmp_path / "none"):
        assert digest_of_data(str(missing)) == "missing"


def test_seeds_are_as_many_as_the_time_allows() -> None:
    seeds = {"": 2, "--full": 3, "--study": 10, "--seeds 4": 4}
    assert {flags: read_options(flags.split()).seeds for flags in seeds} == seeds


def plan_of(*arguments: str) -> Plan:
    return Plan(read_options(["--dry-run", *arguments]))


def test_training_of_a_small_encoder_has_one_process_of_several_gpus(monkeypatch) -> None:
    monkeypatch.setattr("pipeline.stages.count_gpus", lambda device: 8)
    steps = pretrain(plan_of("--scale", "photos", "--device", "cuda"))
    assert {step.processes for step in steps} == {1}


@pytest.mark.parametrize("scale", ["starter", "photos"])
def test_no_two_parts_of_the_study_name_one_record(scale) -> None:
    plan = plan_of("--scale", scale, "--study")
    named = [
        f"{part.kind}/{method}-{record}"
        for part in parts_of(plan)
        for method in part.methods or plan.options.methods
        for record in part.records
    ]
    assert len(named) > 10
    pairs = combinations(named, 2)
    assert not [pair for pair in pairs if fnmatch(*pair) or fnmatch(*pair[::-1])]


def test_two_at_once_in_one_folder_are_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "--out", str(tmp_path), "--only", "label"]
    with only_writer(tmp_path / "starter" / ".steps"):
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    one_line_error(done, os.getpid(), "--out")


def signalled(number: int, script: str, ready: int = 1) -> tuple[int, str]:
    """How a script ends, and its errors, after a signal when so many files `began*` are there."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys, time; from pathlib import Path\n{script}"],
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY}:."},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len([*Path().glob("began*")]) < ready:
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors


SLEEPS = "import os, pathlib, time; pathlib.Path(f'began{os.getpid()}').touch(); time.sleep(60)"


@pytest.mark.parametrize(
    ("number", "slot"), [(signal.SIGTERM, None), (signal.SIGINT, Slot(frozenset({0})))]
)
def test_signal_stops_the_program_and_its_children(stub, slot, number):
    Path("sleeps.py").write_text(SLEEPS)
    Path("stub.py").write_text(
        "import subprocess, sys\nsys.exit(subprocess.call([sys.executable, 'sleeps.py']))"
    )
    code, _ = signalled(
        number,
        "from pipeline.step import *\n"
        "from pipeline.programs import stopped_by_signals\n"
        "try:\n"
        " with stopped_by_signals():\n"
        f"  run_step(Step('train', 'stub'), Path('runs'), sys.executable, slot={slot!r})\n"
        "except StepFailedError as error: sys.exit(error.code)",
    )
    assert code in (128 + number, 1)  # 1 after a KeyboardInterrupt


def test_no_step_is_announced_after_a_signal(stub: Step) -> None:
    """Ctrl-C reaches three programs side by side, of which only two have begun on two cores."""
    Path("stub.py").write_text(SLEEPS)
    cores = min(9, len(os.sched_getaffinity(0)))
    code, printed = signalled(
        signal.SIGINT,
        "from pipeline import __main__ as main\n"
        "from pipeline.step import Step\n"
        "steps = [Step(f'train{n}', 'stub', beside=True) for n in range(9)]\n"
        "main.stages.steps_of = lambda *_: steps\n"
        "sys.exit(main.main(['--only', 'data', '--out', 'runs']))",
        ready=cores,
    )
    assert code == 128 + signal.SIGINT
    assert printed.count("== train") == cores
    assert printed.splitlines()[-1] == "stopped; run the same command again to go on"
    assert "exit code" not in printed


def test_signal_between_programs_stops_the_pipeline(stub: Step) -> None:
    """While it looks at inputs no program runs that could be told."""
    code, _ = signalled(
        signal.SIGHUP,
        "from pipeline import __main__ as main\n"
        "def looking(*arguments, **options): Path('began').touch(); time.sleep(60)\n"
        "main.run_step = looking\n"
        "sys.exit(main.main(['--only', 'data', '--out', 'runs']))",
    )
    assert code == 128 + signal.SIGHUP


def test_steps_side_by_side_have_cores_of_their_own(stub, capfd) -> None:
    Path("stub.py").write_text(
        "import os, pathlib, sys, time\n"
        "name = sys.argv[1]\n"
        "print(name, 'begins')\n"
        "pathlib.Path(name).write_text(' '.join(map(str, sorted(os.sched_getaffinity(0)))))\n"
        "while len(list(pathlib.Path().glob('step*'))) < 2: time.sleep(0.01)\n"
        "print(name, 'ends')"
    )
    cores = os.sched_getaffinity(0)
    names = ["step0", "step1"]
    if len(cores) < 2:
        pytest.skip("one core")
    steps = [Step(name, program="stub", arguments=(name,)) for name in names]
    side_by_side(partial(run_step, runs=Path("runs"), python=sys.executable), steps)
    shares = [{*map(int, Path(name).read_text().split())} for name in names]
    assert shares[0] | shares[1] == cores
    assert not shares[0] & shares[1]
    printed = capfd.readouterr().out.splitlines()
    assert printed[0].split()[0] == printed[1].split()[0]


def test_slot_has_a_gpu_where_there_are_several(monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [slot.gpu for slot in slots(4, 3)] == ["0", "1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert [slot.gpu for slot in slots(2, 9)] == ["5", "7"]
    assert [slot.gpu for slot in slots(1, 1)] == [""]
