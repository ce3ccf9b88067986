"""run_all.sh: what it would do, what it skips, and what it refuses; and the README's commands."""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from itertools import product
from pathlib import Path

import pytest
from one_line import one_line_error
from pictures import plain

import baselines
from catlip.data.shards import write_shard
from pipeline import __main__ as pipeline
from pipeline.options import DENSE_FILES, read_options
from pipeline.stages import steps_of

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Data of a user's own, as far as a dry run looks at them: option -> what to give."""
    root = tmp_path_factory.mktemp("own")
    for name in ("shards/0", "shards/1", "pets/train", "pets/test"):
        suffix = "cls" if "pets" in name else "txt"
        write_shard(root / f"{name}.tar", [("0", {"jpg": b"", suffix: b"0"})])
    for file in (*DENSE_FILES["coco"], *DENSE_FILES["ade20k"]):
        (root / "dense" / file).mkdir(parents=True)
    return {
        "--shards": f"{root}/shards/*.tar",
        "--probe": f"{root}/pets",
        "--coco": f"{root}/dense",
        "--ade20k": f"{root}/dense",
    }


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


def modules_of(lines: list[str]) -> list[str]:
    return re.findall(r"-m ([a-z_.]+)", "\n".join(lines))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--scale", "laion"], "photos"),
        (["--only", "eat"], "pretrain"),
        (["--seeds", "many"], "many"),
        (["--seeds"], "--seeds"),
        (["--methods", "catlip,--clip"], "siglip"),
        (["--fast"], "--fast"),
        (["--out", "/proc/nowhere"], "/proc/nowhere"),
        (["--scale", "datacomp"], "--shards"),
        (["--device", "gpu"], "cuda"),
        (["--epochs", "0"], "--epochs"),
        (["--threshold", "few"], "--threshold"),
        (["--encoder", "hybrid_smal"], "hybrid_small"),
        (["--methods", "catlip,clop"], "siglip"),
        (["--shards", "0.tar"], "needs --scale photos"),
        (["--scale", "starter", "--probe", "pets"], "brings its own data"),
        (["--tune"], "--scale photos"),
        (["--scale", "photos", "--shards", "https://u:hid/den@host/x.tar"], "%2F"),
        (["--scale", "photos", "--shards", f"{'n' * 300}.tar"], "File name too long"),
    ],
)
def test_mistake_is_one_line_and_exit_2(arguments: list[str], says: str) -> None:
    one_line_error(run_all(*arguments), says)


@pytest.mark.parametrize("url", ["https://u:hidden@host/x.tar", "http:/u:hidden@host/x.tar"])
def test_password_of_a_url_is_in_no_line(url: str, monkeypatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    done = run_all("--dry-run", "--scale", "photos", "--shards", url)
    assert done.returncode == 0, done.stderr
    assert "://host/x.tar" in done.stdout
    assert "hidden" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--shards", "/nowhere/*.tar", "nothing matches /nowhere/*.tar"),
        ("--shards", "SHARDS/{2..3}.tar", "2.tar"),
        ("--probe", "/nowhere", "'/nowhere' is neither a folder"),
        ("--probe", "cifar:/nowhere", "'cifar:/nowhere' is neither"),
        ("--probe", "imagenet:/nowhere", "no folder /nowhere"),
        ("--probe", "SHARDS", "no folder train"),
        ("--probe", "wds:/nowhere", "no folder /nowhere"),
        ("--coco", "SHARDS", "instances_train2017.json"),
        ("--ade20k", "/nowhere", "no /nowhere"),
        ("--full", "", "--full is for"),
    ],
)
def test_data_that_are_not_there_are_refused_at_once(user, option, value, says) -> None:
    value = value.replace("SHARDS", str(Path(user["--shards"]).parent))
    words = {**user, "--scale": "cc3m", option: value}
    one_line_error(
        run_all("--dry-run", *[word for pair in words.items() for word in pair if word]), says
    )


def test_method_in_a_folder_of_the_users_own_is_known(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "mine.py").write_text('class Toy(Objective):\n    name, label = "toy", "Toy"\n')
    monkeypatch.setattr(baselines, "__path__", [*baselines.__path__, str(tmp_path)])
    assert any("--method toy" in line for line in dry_run("--methods", "catlip,toy"))


def test_own_photographs_are_a_scale_of_small_trainings(user) -> None:
    photos = ("--scale", "photos", *flags(user, "--shards", "--probe"))
    lines = dry_run(*photos, "--epochs", 3, "--encoder", "hybrid_small", "--threshold", 7)
    trainings = [line for line in lines if re.search(r"(catlip|baselines)\.pretrain ", line)]
    assert len(trainings) == 3 * 2  # CatLIP, CLIP by two text towers, two seeds
    for line in trainings:
        assert "--recipe photos" in line
        assert "--epochs 3 --encoder hybrid_small" in line
    printed = "\n".join(lines)
    assert "--threshold 7" in printed
    assert "random:hybrid_small@48" in printed
    assert f"--data {user['--probe']} " in printed
    assert "--threshold" not in "\n".join(dry_run(*photos))  # one that fits the data


def test_photographs_are_fine_tuned_with_full_only(user) -> None:
    photos = ("--scale", "photos", *flags(user, "--shards", "--probe"), "--methods", "catlip")
    assert "bench.downstream.finetune" not in modules_of(dry_run(*photos))
    assert modules_of(dry_run(*photos, "--full")).count("bench.downstream.finetune") == 2 * 3


def test_table_of_files_becomes_shards_first(user, tmp_path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("file,caption\n0.jpg,a dog\n")
    (tmp_path / "0.jpg").write_bytes(plain(kind="JPEG"))
    lines = dry_run("--scale", "photos", "--shards", table, *flags(user, "--probe"))
    (made,) = [line for line in lines if "data.fetch" in line]
    folder = re.fullmatch(rf".*data.fetch {table} --side 128 --out (data/mine-\w+-shards)", made)
    assert folder
    assert any(f"--shards '{folder[1]}/*.tar'" in line for line in lines)
    options = read_options(["--dry-run", "--scale", "photos", "--shards", str(table)])
    (step, *_) = steps_of("data", options)
    assert step.always, "the program looks whether a file has changed"
    # Another table of the same name has shards of its own.
    (other := tmp_path / "other/mine.csv").parent.mkdir()
    other.write_text(table.read_text())
    (other.parent / "0.jpg").write_bytes(plain(kind="JPEG"))
    lines = dry_run("--scale", "photos", "--shards", other, *flags(user, "--probe"))
    assert not any(folder[1] in line for line in lines)


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


def test_columns_are_told_and_may_be_given(user, tmp_path) -> None:
    table, photos = tmp_path / "mine.csv", ("--scale", "photos", *flags(user, "--probe"))
    table.write_text("number,words,other\n0,a dog,x\n")
    (tmp_path / "0.jpg").write_bytes(plain(kind="JPEG"))
    failed = run_all("--dry-run", *photos, "--shards", table)
    one_line_error(failed, "mine.csv", "number, words, other", "--text-column")
    columns = ("--image-column", "number", "--text-column", "words")
    lines = dry_run(*photos, "--shards", table, *columns)
    assert f": 1 images in {tmp_path} (column number, and .jpg), 1 captions" in lines[0]
    assert "a dog" in lines[1]
    (made,) = [line for line in lines if "data.fetch" in line]
    assert shlex.join(columns) in made


@pytest.mark.parametrize("name", ["README.md", "photo.jpg"])
def test_shards_that_are_neither_tars_nor_tables_are_refused(user, tmp_path, name) -> None:
    (tmp_path / name).write_text("a dog")
    photos = ("--scale", "photos", *flags(user, "--probe"))
    one_line_error(run_all("--dry-run", *photos, "--shards", tmp_path / name), name, "table")


def test_dry_run_refuses_what_the_first_step_or_a_late_one_refuses(user, tmp_path) -> None:
    """One of a table's files that is missing among many, and a probe with an empty class."""
    table, photos = tmp_path / "mine.csv", ("--scale", "photos", "--shards", tmp_path / "mine.csv")
    names = [f"{number}.jpg" for number in range(1200)]
    table.write_text("\n".join(["file,caption", *(f"{name},a dog" for name in names)]))
    for name in names[:-12]:
        (tmp_path / name).write_bytes(plain(kind="JPEG"))
    assert any("12 no such file" in line for line in dry_run(*photos, *flags(user, "--probe")))
    (tmp_path / names[0]).unlink()
    failed = run_all("--dry-run", *photos, *flags(user, "--probe"))
    one_line_error(failed, "13 no such file", names[0])
    (tmp_path / names[0]).write_bytes(plain(kind="JPEG"))
    for place in ("train/cat", "train/dog", "test/cat", ".git/hooks", "train/.git"):
        (tmp_path / "probe" / place).mkdir(parents=True)
        (tmp_path / "probe" / place / "0.jpg").touch()
    probe = (*photos, "--probe", tmp_path / "probe")
    one_line_error(run_all("--dry-run", *probe), "only some splits: dog")
    (tmp_path / "probe/test/dog").mkdir()
    one_line_error(run_all("--dry-run", *probe), "no images of class dog")
    (tmp_path / "probe/test/dog/0.jpg").touch()
    dry_run(*probe)
    one_line_error(run_all("--dry-run", *probe, "--words", "absent.csv"), "absent.csv")


def test_remote_probe_is_not_asked_for_by_a_dry_run(user) -> None:
    url = "hf://datasets/clip-benchmark/wds_vtab-caltech101"
    photos = ("--scale", "photos", *flags(user, "--shards"), "--probe", f"wds:{url}", "--full")
    lines = [line for line in dry_run(*photos) if f"--data wds:{url} " in line]
    swept = [line for line in lines if "--protocol l2_sweep" in line]
    assert (len(lines), len(swept)) == (4 * 9 + 9 + 1, 12)
    assert all("/photos/l2_probe/" in line for line in swept)


def probes_of(lines: list[str]) -> dict[str, list[str]]:
    """The words of each linear probe's command, up to where its record goes, by the record."""
    probes = {}
    for words in (shlex.split(line) for line in lines if "downstream.linear_probe " in line):
        end = words.index("--out")
        probes[Path(words[end + 1]).stem] = words[:end]
    return probes


@pytest.fixture(autouse=True)
def no_fashion_mnist(monkeypatch) -> None:
    """It would be probed too where Debian's package has it."""
    monkeypatch.setattr("pipeline.stages.FASHION_MNIST_DIR", Path("absent"))


@pytest.mark.parametrize("scale", ["photos", "cc3m"])
def test_each_further_probe_is_one_more_linear_probe_of_every_encoder(
    user, tmp_path, scale
) -> None:
    shutil.copytree(user["--probe"], tmp_path / "my birds")
    more = {"my-birds": f"{tmp_path}/my birds", "cars": "wds:hf://datasets/x/wds_cars"}
    words = [word for data in more.values() for word in ("--probe", data)]
    words += ["--methods", "catlip,clip", "--seeds", "2"]
    lines = dry_run("--scale", scale, *flags(user, "--shards", "--probe"), *words)
    probes = probes_of(lines)
    for method, seed in product(("catlip", "clip", "random"), range(2)):
        main = probes[f"{method}-seed{seed}"]
        for name, data in more.items():
            expected = [data if word == user["--probe"] else word for word in main]
            assert probes[f"{method}-seed{seed}-{name}"] == expected != main
    assert len(probes) == 6 * (4 if scale == "photos" else 3)  # with the drawings
    others = [line for line in lines if "downstream.linear_probe " not in line]
    assert not any("my birds" in line or "wds_cars" in line for line in others)


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ("{0}/a/pets", "{0}/b/pets", "both be called 'pets' on the page: rename"),
        ("{0}/a/pets", "wds:{0}/b/wds_pets", "both be called 'pets'"),
        ("imagenet:{0}/a/pets", "{0}/sketch", "both be called 'imagenet'"),
        ("{0}/a/pets", "folder:{0}/a/pets", "the same data are given twice"),
        ("{0}/a/pets", "none", "give no other"),
        ("{0}/a/pets", "{0}/b/cats", "'{0}/b/cats' is neither a folder"),
        ("{0}/a/pets", "{0}/a", "no folder train"),
        ("{0}/a/pets", "fashion_mnist:{0}/nowhere", "no folder {0}/nowhere"),
    ],
)
def test_further_probes_are_checked_and_have_names_of_their_own(
    user, tmp_path: Path, first: str, second: str, says: str
) -> None:
    for name in ("a/pets", "b/pets", "b/wds_pets"):
        shutil.copytree(user["--probe"], tmp_path / name)
    for number in range(1000):  # ImageNet's classes
        (tmp_path / f"sketch/train/n{number:08}").mkdir(parents=True)
    write_shard(tmp_path / "sketch/val.tar", [("0", {"jpg": b"", "cls": b"0"})])
    words = ("--scale", "photos", *flags(user, "--shards"), "--probe", first, "--probe", second)
    done = run_all("--dry-run", *(word.format(tmp_path) for word in words))
    one_line_error(done, says.format(tmp_path))


@pytest.mark.parametrize(
    ("scale", "probes", "far"),
    [
        ("photos", ["PETS"], {"starter", "fashion_mnist"}),
        ("photos", ["PETS", "starter:data/starter"], {"starter", "fashion_mnist"}),
        ("photos", ["fashion_mnist:/", "PETS"], {"starter", "pets"}),
        ("photos", ["none"], set()),
        ("starter", [], {"fashion_mnist"}),
        ("cc3m", ["PETS"], set()),
    ],
)
def test_small_encoders_are_probed_on_tasks_far_from_their_data(
    user, monkeypatch, scale: str, probes: list[str], far: set[str]
) -> None:
    monkeypatch.setattr("pipeline.stages.FASHION_MNIST_DIR", REPOSITORY)  # as if it were installed
    words = flags(user, "--shards") if scale != "starter" else []
    words += ["--methods", "catlip,clip"]
    for probe in probes:
        words += ["--probe", probe.replace("PETS", user["--probe"])]
    lines = dry_run("--scale", scale, *words)
    names = [record.partition("-seed0")[2] for record in probes_of(lines) if "-seed0" in record]
    main = [] if "none" in probes else [""]
    assert sorted(names) == sorted(3 * [*main, *(f"-{name}" for name in far)])
    is_made = "catlip.data.starter" in modules_of(lines)
    assert is_made == (scale == "starter" or "starter" in far)


def test_drawings_are_probed_if_they_are_there(user, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--scale", "photos", *flags(user, "--shards", "--probe"), "--from", "label")
    assert "catlip-seed0-starter" not in probes_of(dry_run(*words))
    Path("data/starter").mkdir(parents=True)
    Path("data/starter/starter.json").touch()
    probe = probes_of(dry_run(*words))["catlip-seed0-starter"]
    assert "starter:data/starter" in probe
    assert probe[probe.index("--fraction") + 1 :][:2] == ["1", "--seeds"]


def test_dry_run_prints_every_command_and_makes_nothing(tmp_path: Path) -> None:
    lines = dry_run("--out", tmp_path / "runs", "--seeds", 2)
    modules = modules_of(lines)
    assert (modules.count("catlip.pretrain"), modules.count("baselines.pretrain")) == (2, 4)
    assert modules.count("bench.downstream.linear_probe") == 4 * 2
    # What takes long is done with the first encoder of each method.
    full = dry_run("--full", "--out", tmp_path / "runs", "--seeds", 2)
    for printed, seeds in ((lines, {"0"}), (full, {"0", "1"})):
        readouts = [line for line in printed if "bench.downstream.readouts " in line]
        assert len(readouts) == 3 * len(seeds)
        assert {re.findall(r"seed(\d)", line)[-1] for line in readouts} == seeds
    assert "bench.downstream.finetune" not in modules
    words = {"catlip.data.starter", "catlip.label", "catlip.vocabulary"}
    assert words | {"bench.step_time", "bench.memory", "reports"} <= {*modules}
    assert not (tmp_path / "runs").exists()


def test_dense_transfer_is_run_when_asked_for_or_given_data(user) -> None:
    assert "bench.downstream.detection" not in modules_of(dry_run())
    lines = [line for line in dry_run("--full", "--seeds", 3) if "starter-scenes/" in line]
    assert len(lines) == 2 * 4 * 3 + 3  # four methods, three seeds a task; and Transfer Init
    assert all(("segmentation" in line) == ("ade20k:" in line) for line in lines)
    lines = dry_run("--scale", "cc3m", *flags(user, "--shards", "--probe", "--coco"))
    on_coco = [line for line in lines if f"coco:{user['--coco']}" in line]
    recipes = [line.split("--recipe ")[1].split()[0] for line in on_coco]
    assert recipes == ["table_7c"] * 4 + ["table_7e_b16"] * 3
    assert not any("segmentation" in line for line in lines)


def test_study_is_run_when_asked_for_with_ten_seeds(user) -> None:
    assert "bench.study" not in modules_of(dry_run())
    lines = dry_run("--study")
    assert sum("-m catlip.pretrain " in line for line in lines) == 10
    studies = [line for line in lines if "-m bench.study " in line]
    # Losses and words have six methods; CatLIP alone: a smaller encoder, and thresholds.
    assert len(studies) == 3 * 9 + 6 + 2
    assert all(("study tuning" in line) == ("-validation:" in line) for line in studies)
    of_the_study = dry_run("--only", "study")
    assert of_the_study == [line for line in lines if line in of_the_study]
    assert {*studies} <= {*of_the_study}
    for scale, recipe, studies in (
        ("cc3m", "cc3m_b16", 2 * 5 + 1),
        ("photos", "photos", 3 * 6 + 1),
    ):
        lines = dry_run("--scale", scale, *flags(user, "--shards", "--probe"), "--only", "study")
        assert len(lines) == studies
        assert all(f"--recipe {recipe}" in line for line in lines)
        assert all(("study tuning" in line) == ("folder-validation:" in line) for line in lines)


def test_methods_are_tuned_before_they_are_trained(user, tmp_path) -> None:
    photos = ("--scale", "photos", *flags(user, "--shards", "--probe"), "--methods", "catlip,clip")
    photos = (*photos, "--out", tmp_path, "--encoder", "hybrid_small")
    lines = dry_run(*photos, "--tune", "--study", "--epochs", "50")
    trials = [n for n, line in enumerate(lines) if "study tuning" in line]
    trained = [n for n, line in enumerate(lines) if ".pretrain " in line]
    assert dry_run(*photos, "--only", "tune", "--epochs", "50") == [lines[n] for n in trials[:2]]
    assert max(trials[:2]) < min(trained)
    for n in trials:
        assert "folder-validation:" in lines[n]
        assert "--encoder hybrid_small" in lines[n]
        assert "--epochs 50" in lines[n]
    for line in [lines[n] for n in trained] + [line for line in lines if "study lengths" in line]:
        method = "catlip" if "catlip-seed" in line or "--methods catlip" in line else "clip"
        assert f"--recipe {tmp_path}/photos/tuning/{method}.py:tuned " in line
    assert not any("tuning" in line for line in dry_run(*photos))
    options = read_options([*map(str, photos), "--tune"])
    for step in steps_of("pretrain", options):  # another recipe is another training
        assert f"{tmp_path}/photos/tuning/{step.methods[0]}.py" in step.reads


def test_only_and_from_choose_stages() -> None:
    assert modules_of(dry_run("--only", "label")) == [
        *("catlip.label", "catlip.vocabulary"),
        *("catlip.vocabulary", "catlip.examples", "catlip.label"),  # statistics, examples and audit
    ]
    later = dry_run("--from", "transfer")
    assert "bench.step_time" in modules_of(later)
    assert not any("pretrain --recipe" in line for line in later)


CALTECH = "wds:hf://datasets/clip-benchmark/wds_vtab-caltech101"


@pytest.mark.parametrize(
    ("scale", "gpus", "shards", "data", "fetched"),
    [
        ("photos", 0, "cc3m-validation-{0000..0015}.tar", "data/cc3m-validation", "1.73 GB"),
        ("photos", 1, "cc3m-train-{0000..0019}.tar", "data/cc3m-20", "9.63 GB"),
        ("cc3m", 1, "cc3m-train-{0000..0575}.tar", "data/cc3m", "269 GB"),
    ],
)
def test_photographs_are_fetched_without_data(
    scale, gpus, shards, data, fetched, user, monkeypatch
):
    monkeypatch.setattr("pipeline.options.count_gpus", lambda device: gpus)
    monkeypatch.setattr("pipeline.stages.FASHION_MNIST_DIR", REPOSITORY)  # as if it were installed
    lines = dry_run("--scale", scale)
    printed, commands = "\n".join(lines), [line for line in lines if not line.startswith("#")]
    for words in (f"To be fetched, {fetched}", shards, "licence: captions free to use with credit"):
        assert words in printed
    assert f"'hf://datasets/pixparse/cc3m-wds/{shards}' --side" in commands[0]
    assert f"--out {data} --yes" in commands[0]
    trainings = 3 * 2 if scale == "photos" else 2
    assert sum(f"--shards '{data}/*.tar'" in line for line in commands) == trainings
    probes = [line for line in commands if "bench.downstream.linear_probe" in line]
    assert sum(CALTECH in line for line in probes) == sum(
        "fashion_mnist:" in line for line in probes
    )
    assert bool(probes) == (scale == "photos")
    assert ("clip, 25 epochs: 7.1" in printed) == ("zero-shot 17.1" in printed) == (scale == "cc3m")
    for option, fetches, probes_caltech in (("--shards", False, True), ("--probe", True, False)):
        if scale == "photos":
            printed = "\n".join(dry_run("--scale", scale, *flags(user, option)))
            assert ("catlip.data.fetch" in printed, CALTECH in printed) == (fetches, probes_caltech)
    assert "To be fetched" not in "\n".join(dry_run("--scale", scale, "--only", "pretrain"))
    without = "\n".join(dry_run("--scale", scale, *flags(user, "--shards"), "--probe", "none"))
    assert "To be fetched" not in without
    assert "bench.downstream" not in without


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
    other = run_all(*words, "--device", "cpu", "--probe", "fashion_mnist:/", "--yes")
    assert (other.returncode, "1.1 GB" in other.stderr) == (0, True)


def test_zero_shot_follows_each_training_at_the_paper_s_scale(user) -> None:
    names = modules_of(dry_run("--scale", "cc3m", *flags(user, "--shards", "--probe")))
    first = names.index("catlip.pretrain")
    readouts = "bench.downstream.readouts"
    assert names[first + 1 : first + 4] == [readouts, "baselines.pretrain", readouts]
    assert names.count(readouts) == 2


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


def readme_commands() -> list[str]:
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    text = "".join(page.read_text() for page in pages)
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("command", readme_commands())
def test_commands_of_the_readme_are_understood(command: str) -> None:
    """Those of Python programs are read by the programs themselves, in test_programs.py."""
    words = shlex.split(command, comments=True)
    if words[0] == "./run_all.sh":
        if words[1:] == ["test"]:
            return
        done = run_all("--dry-run", *words[1:])
        if "/data/" in command:  # understood as far as to the data, which are not here
            one_line_error(done, "/data/")
        else:
            assert done.returncode == 0, done.stderr
    elif words[0] not in {"git", "cd", "source"}:
        assert re.search(r"-m (catlip|baselines|bench|reports)\b", command)
