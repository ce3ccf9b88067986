"""run_all.sh: what it would do, what it skips, and what it refuses; and the README's commands."""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from pathlib import Path

import pytest
from golden import expect
from one_line import one_line_error
from pictures import plain
from smallest_programs import documented_commands

from catlip.data.shards import write_shard
from catlip.program.methods import methods
from pipeline import __main__ as pipeline
from pipeline.options import DENSE_FILES, announcement, read_options
from pipeline.stages import steps_of
from pipeline.step import Step

REPOSITORY = Path(__file__).parent.parent
HERE = Path(__file__).parent


@pytest.fixture
def user(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Data of a user's own, as far as a dry run looks at them: option -> what to give."""
    root = tmp_path_factory.mktemp("own")
    for name in ("shards/0", "shards/1", "pets/train", "pets/test", "birds/train", "birds/test"):
        suffix = "txt" if "shards" in name else "cls"
        write_shard(root / f"{name}.tar", [("0", {"jpg": b"", suffix: b"0"})])
    for file in (*DENSE_FILES["coco"], *DENSE_FILES["ade20k"]):
        (root / "dense" / file).mkdir(parents=True)
    (root / "words.csv").write_text("tshirts,shirt\n")
    (root / "train.csv").write_text("number,words,other\n0,a dog,x\n")
    (root / "test.csv").write_text("file,text\n0.jpg,a cat\n")
    (root / "0.jpg").write_bytes(plain(kind="JPEG"))
    return {
        "--shards": f"{root}/shards/*.tar",
        "--probe": f"{root}/pets",
        "--coco": f"{root}/dense",
        "--ade20k": f"{root}/dense",
    }


@pytest.fixture(autouse=True)
def elsewhere(user, tmp_path: Path, monkeypatch) -> None:
    """Nothing here depends on what this machine has."""
    monkeypatch.chdir(tmp_path)
    fashion = Path(user["--probe"]).with_name("fashion")
    fashion.mkdir()
    monkeypatch.setattr("pipeline.stages.FASHION_MNIST_DIR", fashion)
    have_gpus(monkeypatch, 0)


def have_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    for module in ("options", "stages"):
        monkeypatch.setattr(f"pipeline.{module}.count_gpus", lambda device: count)


def flags(user: dict[str, str], *names: str) -> list[str]:
    return [word for name in names for word in (name, user[name])]


def run_all(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What run_all.sh does when all is installed, in this process."""
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        code = pipeline.main([*map(str, arguments)])
    return subprocess.CompletedProcess([], code, out.getvalue(), error.getvalue())


def dry_run(*arguments: object) -> list[str]:
    """The lines that a dry run prints."""
    done = run_all("--dry-run", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# Name -> the GPUs of a machine, and the arguments; OWN is the folder of a user's own data.
SHARDS, TWO_PROBES = "--shards OWN/shards/*.tar", "--probe OWN/pets --probe OWN/birds"
PROBE = f"--scale photos {SHARDS} --probe"
DRY_RUNS = {
    "starter": (0, ""),
    "starter-full": (0, "--full --study --seeds 2"),
    "photos": (0, "--scale photos"),
    "photos-gpu": (1, "--scale photos --seeds 1 --methods catlip,superclass"),
    "photos-own": (
        0,
        f"--scale photos {SHARDS} {TWO_PROBES} --probe wds:hf://datasets/x/wds_cars --full --tune "
        "--study --methods catlip,clip --words OWN/words.csv --epochs 50 --encoder hybrid_small "
        "--threshold 7 --seeds 1 --quiet --device cpu",
    ),
    "photos-table": (
        0,
        "--scale photos --shards OWN/train.csv --image-column number --text-column words "
        "--probe none --methods catlip,catlip_softmax --out there",
    ),
    "photos-given": (
        0,
        f"--scale photos {SHARDS} --probe fashion_mnist:OWN/fashion --probe starter:data/starter "
        "--methods clip --seeds 1 --from transfer",
    ),
    "cc3m": (1, "--scale cc3m"),
    "cc3m-own": (
        8,
        f"--scale cc3m {SHARDS} {TWO_PROBES} --coco OWN/dense --ade20k OWN/dense --study "
        "--device cuda",
    ),
    "datacomp": (8, f"--scale datacomp {SHARDS} --probe OWN/pets --only study"),
}


@pytest.mark.parametrize("name", DRY_RUNS)
def test_steps_of_a_run_are_the_expected_ones(name, user, tmp_path, monkeypatch) -> None:
    """What is fetched and read, how long it takes, every command and what it depends on."""
    gpus, words = DRY_RUNS[name]
    have_gpus(monkeypatch, gpus)
    own = str(Path(user["--probe"]).parent)
    arguments = ["--dry-run", "--python", "python", *words.replace("OWN", own).split()]
    options = read_options(arguments)
    stages = [stage for stage in options.stages if stage != "setup"]
    steps = [step for stage in stages for step in steps_of(stage, options)]
    told = [f"# {line}" for line in announcement(options).splitlines()]
    printed = run_all(*arguments).stdout.splitlines()
    assert printed == [*told, *(shlex.join(step.command("python")) for step in steps)]
    text = "\n".join([f"$ ./run_all.sh {words}", *told, *map(about, steps), ""])
    places = re.sub(r"-\w{6}-shards", "-DIGEST-shards", text.replace(own, "OWN"))
    expect(HERE / f"dry_runs/{name}.txt", places)
    assert not [*tmp_path.iterdir()]


def about(step: Step) -> str:
    """A step, with its arguments as they count for whether it is done, and those that do not."""
    lines = [f"{step.name}: {shlex.join([step.program, *step.arguments])}"]
    for field in fields(step)[3:]:
        value = getattr(step, field.name)
        if value and value != field.default:
            words = value if isinstance(value, (list, tuple)) else [value]
            is_every = {*words} == {*methods()}
            lines.append(f"    {field.name}: {'all' if is_every else shlex.join(map(str, words))}")
    return "\n".join(lines)


MISTAKES = [
    ("--scale laion", "photos"),
    ("--only eat", "pretrain"),
    ("--seeds many", "many"),
    ("--seeds", "--seeds"),
    ("--methods catlip,--clip", "siglip"),
    ("--methods catlip,clop", "siglip"),
    ("--fast", "--fast"),
    ("--out /proc/nowhere", "/proc/nowhere"),
    ("--scale datacomp", "--shards"),
    ("--device gpu", "cuda"),
    ("--epochs 0", "--epochs"),
    ("--threshold few", "--threshold"),
    ("--encoder hybrid_smal", "hybrid_small"),
    ("--shards 0.tar", "needs --scale photos"),
    ("--scale starter --probe pets", "brings its own data"),
    ("--tune", "--scale photos"),
    ("--scale cc3m --full", "--full is for"),
    ("--scale photos --shards https://u:hid/den@host/x.tar", "%2F"),
    (f"--scale photos --shards {'n' * 300}.tar", "File name too long"),
    ("--scale cc3m --shards /nowhere/*.tar", "nothing matches /nowhere/*.tar"),
    ("--scale cc3m --shards OWN/shards/{2..3}.tar", "2.tar"),
    ("--scale photos --shards OWN/words.md", "words.md", "table"),
    ("--scale photos --shards OWN/0.jpg", "0.jpg", "table"),
    ("--scale photos --shards OWN/train.csv", "train.csv", "number, words, other", "--text-column"),
    (f"--scale photos {SHARDS} --words absent.csv", "absent.csv"),
    (f"--scale cc3m {SHARDS} --coco OWN/shards", "instances_train2017.json"),
    (f"--scale cc3m {SHARDS} --ade20k /nowhere", "no /nowhere"),
    (f"{PROBE} /nowhere", "'/nowhere' is neither a folder"),
    (f"{PROBE} cifar:/nowhere", "'cifar:/nowhere' is neither"),
    (f"{PROBE} imagenet:/nowhere", "no folder /nowhere"),
    (f"{PROBE} OWN/shards", "no folder train"),
    (f"{PROBE} wds:/nowhere", "no folder /nowhere"),
    (f"{PROBE} OWN/half", "only some splits: dog"),
    (f"{PROBE} OWN/empty", "no images of class dog"),
    (f"{PROBE} OWN/a/pets --probe OWN/pets", "both be called 'pets' on the page: rename"),
    (f"{PROBE} OWN/pets --probe wds:OWN/a/wds_pets", "both be called 'pets'"),
    (f"{PROBE} imagenet:OWN/pets --probe OWN/sketch", "both be called 'imagenet'"),
    (f"{PROBE} OWN/pets --probe folder:OWN/pets", "the same data are given twice"),
    (f"{PROBE} OWN/pets --probe none", "give no other"),
    (f"{PROBE} OWN/pets --probe OWN/cats", "OWN/cats' is neither a folder"),
]


@pytest.mark.parametrize("words", MISTAKES, ids=lambda words: words[0][:60])
def test_mistake_is_one_line_and_exit_2(user, words: tuple[str, ...]) -> None:
    own = user["--probe"].removesuffix("/pets")
    for name in ("a/pets", "a/wds_pets"):
        shutil.copytree(user["--probe"], f"{own}/{name}")
    for place in ("train/cat", "train/dog", "test/cat", ".git/hooks", "train/.git"):
        for probe in ("half", "empty"):
            Path(own, probe, place).mkdir(parents=True)
            Path(own, probe, place, "0.jpg").touch()
    Path(own, "empty/test/dog").mkdir()
    Path(own, "words.md").write_text("a dog")
    if "sketch" in words[0]:
        for number in range(1000):  # ImageNet's classes
            Path(own, f"sketch/train/n{number:08}").mkdir(parents=True)
        write_shard(Path(own, "sketch/val.tar"), [("0", {"jpg": b"", "cls": b"0"})])
    command, *says = (word.replace("OWN", own) for word in words)
    one_line_error(run_all("--stages", *command.split()), *says)


def test_tables_of_one_name_have_shards_of_their_own(user, tmp_path) -> None:
    folders = set()
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.csv").write_text("file,caption\n0.jpg,a dog\n")
        (tmp_path / folder / "0.jpg").write_bytes(plain(kind="JPEG"))
        photos = ("--scale", "photos", "--shards", f"{folder}/mine.csv", *flags(user, "--probe"))
        folders |= {*re.findall(r"--out (data/mine-\w+-shards)", "\n".join(dry_run(*photos)))}
    assert len(folders) == 2


def test_drawings_are_probed_if_they_are_there(user) -> None:
    words = ("--scale", "photos", *flags(user, "--shards", "--probe"), "--from", "label")
    for is_there in (False, True):
        assert ("starter:data/starter" in "\n".join(dry_run(*words))) == is_there
        Path("data/starter").mkdir(parents=True, exist_ok=True)
        Path("data/starter/starter.json").touch()


@pytest.mark.parametrize("url", ["https://u:hidden@host/x.tar", "http:/u:hidden@host/x.tar"])
def test_password_of_a_url_is_in_no_line(url: str, monkeypatch) -> None:
    monkeypatch.setattr("os.environ", os.environ.copy())
    done = run_all("--dry-run", "--scale", "photos", "--shards", url)
    assert done.returncode == 0, done.stderr
    assert "://host/x.tar" in done.stdout
    assert "hidden" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "files", "searched"),
    [
        ("train/*.tar", ["train/0.tar", "test/0.tar"], "test"),
        ("train", ["train/0.tar", "val/0.tar"], "val"),
        ("train.csv", ["train.csv", "test.csv", "0.jpg"], "test.csv"),
        ("", ["train/metadata.csv", "train/0.jpg", "test/metadata.csv", "test/0.jpg"], "test"),
        ("", ["train.csv", "test.csv", "images/0.jpg"], "test.csv"),
        ("", ["training_set/metadata.csv", "training_set/0.jpg", "test_set/0.tar"], "test_set"),
        ("split.csv", ["split.csv", "0.jpg", "1.jpg"], "split.csv"),
        ("train.csv", ["train.csv", "0.jpg"], ""),
        # Names of classes are no captions.
        ("train", ["train/0.tar", "test/dog/0.jpg", "test/cat/0.jpg"], ""),
    ],
)
def test_captions_of_a_test_split_are_searched_and_not_trained_on(
    tmp_path, given, files, searched
) -> None:
    for path in map(tmp_path.joinpath, files):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".tar":
            write_shard(path, [("0", {"jpg": b"", "txt": b"a dog"})])
        elif path.suffix == ".jpg":
            path.write_bytes(plain(kind="JPEG"))
        elif path.name == "split.csv":
            path.write_text("file,text,split\n0.jpg,a dog,train\n1.jpg,a cat,test\n")
        else:
            path.write_text("file,text\n0.jpg,a dog\n")
    lines = dry_run("--scale", "photos", "--shards", tmp_path / given, "--probe", "none")
    found = [line for line in lines if f"{tmp_path / (searched or 'test')}: held-out" in line]
    assert len(found) == bool(searched)
    searches = [line for line in lines if "bench.downstream.retrieval" in line]
    assert len(searches) == (3 if searched else 0)  # by three methods
    assert all(f"--data {tmp_path / searched} " in line for line in searches)


def test_few_missing_files_of_a_table_are_told_and_more_are_refused(user, tmp_path) -> None:
    table, photos = tmp_path / "mine.csv", ("--scale", "photos", "--shards", "mine.csv")
    names = [f"{number}.jpg" for number in range(1200)]
    table.write_text("\n".join(["file,caption", *(f"{name},a dog" for name in names)]))
    for name in names[:-12]:
        (tmp_path / name).write_bytes(plain(kind="JPEG"))
    assert any("12 no such file" in line for line in dry_run(*photos, *flags(user, "--probe")))
    (tmp_path / names[0]).unlink()
    failed = run_all("--dry-run", *photos, *flags(user, "--probe"))
    one_line_error(failed, "13 no such file", names[0])


def test_fetch_is_asked_about_once(tmp_path: Path, monkeypatch, capsys) -> None:
    words = ("--stages", "--scale", "photos", "--out", tmp_path, "--from", "data")
    one_line_error(run_all(*words), "1.73 GB", "--yes", "--dry-run")
    terminal = io.StringIO("n\n" + "y\n")
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", terminal)
    refused, agreed, again = (run_all(*words) for _ in range(3))
    assert (refused.returncode, agreed.returncode, again.returncode) == (2, 0, 0)
    assert "Fetch? [y/N] error: nothing was fetched" in refused.stderr
    assert "Caltech-101" in agreed.stderr
    assert (again.stdout, again.stderr) == (agreed.stdout, "")
    assert agreed.stdout.startswith("data label")
    (tmp_path / "photos/.steps/agreed").write_bytes(b"\xff")
    assert "Caltech-101" in run_all(*words, "--yes").stderr
    other = run_all(*words, "--device", "cpu", "--probe", "fashion_mnist:/", "--yes")
    assert (other.returncode, "1.1 GB" in other.stderr) == (0, True)


def clone(folder: Path, pythons: dict[str, str]) -> Path:
    """Copy what ./run_all.sh needs; returns a folder of these interpreters: name -> script."""
    programs = folder / "bin"
    programs.mkdir()
    for name, script in pythons.items():
        (programs / name).write_text(f"#!/bin/bash\n{script}\n")
        (programs / name).chmod(0o755)
    shutil.copy(REPOSITORY / "run_all.sh", folder)
    for package in ("pipeline", "catlip", "baselines"):
        shutil.copytree(REPOSITORY / package, folder / package)
    return programs


def in_a_clone_without_venv(
    tmp_path: Path, pythons: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """The script itself where no .venv is, and where only these interpreters are."""
    programs = clone(tmp_path, pythons)
    for name in ("env", "bash", "dirname", "cat"):
        (programs / name).symlink_to(shutil.which(name) or name)
    return subprocess.run(
        ["./run_all.sh", *arguments],
        cwd=tmp_path,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        timeout=60,
    )


WORKS = f'exec {sys.executable} "$@"'
CHANGED = f'[[ $1 == -c ]] && exec {sys.executable} -c "import sys; CHANGE; $2"; {WORKS}'
OLD = CHANGED.replace("CHANGE", "sys.version_info = (3, 10)")
WITHOUT_VENV = CHANGED.replace("CHANGE", "sys.modules['ensurepip'] = None")


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        (
            {"python3.14": "exit 127", "python3.13": WITHOUT_VENV}
            | {"python3.11": WORKS, "python3": OLD},
            "python3.11",
        ),
        ({"python3": WORKS}, "python3"),
    ],
    ids=["the newest that works", "the only one"],
)
def test_set_up_takes_the_newest_python_that_works(tmp_path, pythons, chosen) -> None:
    done = in_a_clone_without_venv(tmp_path, pythons, "--dry-run", "--only", "setup")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"{chosen} -m venv .venv"


def test_set_up_without_a_python_says_what_to_install(tmp_path: Path) -> None:
    done = in_a_clone_without_venv(tmp_path, {"python3.13": WITHOUT_VENV, "python3": OLD})
    one_line_error(done, "apt-get install python3 python3-venv")


def test_wrong_option_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    done = in_a_clone_without_venv(tmp_path, {"python3": WORKS}, "--scale", "laion")
    one_line_error(done, "laion")
    assert not (tmp_path / ".venv").exists()


WITHOUT_PACKAGES = """
case "$*" in
    *sys.prefix*) echo $PLACE ;;
    *purelib*) echo $PLACE/site ;;
    "-m pip config list"*) echo "$SETTINGS" ;;
    "-m pip "* | "-m uv "*)
        echo "$2 $3 ${@: -1}" | tee -a $PLACE/installed
        [[ $2 != "$BROKEN" ]]
        ;;
    "-m catlip.words") ;;
    *) exec PYTHON "$@" ;;
esac
"""


@pytest.mark.parametrize(
    ("settings", "broken", "installed"),
    [
        ("", "", ["pip install uv", "uv pip .[all]"]),
        ("", "uv", ["pip install uv", "uv pip .[all]", "pip install .[all]"]),
        ("global.index-url='https://mirror'", "", ["pip install .[all]"]),
    ],
    ids=["uv", "uv fails", "an index of pip's own"],
)
def test_set_up_installs_by_uv_or_else_by_pip(tmp_path, settings, broken, installed) -> None:
    programs = clone(tmp_path, {"python": WITHOUT_PACKAGES.replace("PYTHON", sys.executable)})
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "PLACE": str(tmp_path)}
    environment |= {"SETTINGS": settings, "BROKEN": broken, "TMPDIR": str(tmp_path)}
    command = ["./run_all.sh", "--no-venv", "--only", "setup"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    *packages, detectron2 = (tmp_path / "installed").read_text().splitlines()
    assert packages == installed
    assert detectron2.startswith("pip install /dev/fd/")


RUN_ALL = [line for line in documented_commands() if line.startswith("./run_all.sh --")]


@pytest.mark.parametrize("command", RUN_ALL)
def test_commands_of_the_docs_are_understood(command: str) -> None:
    done = run_all("--dry-run", *shlex.split(command, comments=True)[1:])
    if "/data/" in command:  # understood as far as to the data, which are not here
        one_line_error(done, "/data/")
    else:
        assert done.returncode == 0, done.stderr
