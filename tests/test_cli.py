"""What a user gets wrong ends as one line that says what to do, and exit code 2."""

from pathlib import Path

import pytest

from catlip.data.shards import write_shard


@pytest.mark.parametrize(
    ("module", "arguments", "says"),
    [
        ("catlip.pretrain", ["--recipe", "imagenet"], "starter, cc3m_b16"),
        ("catlip.pretrain", ["--shards", "nowhere/*.tar"], "nowhere/*.tar"),
        ("catlip.pretrain", ["--vocabulary", "nowhere.json"], "nowhere.json"),
        ("catlip.pretrain", ["--precision", "fp8"], "fp32, bf16, fp16"),
        ("baselines.pretrain", ["--method", "dino"], "clip"),
        ("baselines.pretrain", ["--shards", "nowhere", "--device", "tpu"], "tpu"),
        ("bench.step_time", ["--model", "resnet50"], "vit_b16"),
        ("bench.step_time", ["--methods", "catlip", "moco"], "moco"),
        ("bench.downstream.linear_probe", ["--encoder", "nowhere", "--data", "starter:x"], "nowhere/weights.safetensors"),
        ("bench.downstream.linear_probe", ["--encoder", "random:vit_tiny16@64", "--data", "cifar:x"], "imagenet:DIR"),
        ("bench.downstream.linear_probe", ["--encoder", "random:vit_tiny16", "--data", "folder:x"], "resolution"),
        ("catlip.label", ["nowhere/{0..2}.tar"], "nowhere/0.tar"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(program, tmp_path, module, arguments, says) -> None:
    if module == "catlip.pretrain" and "--shards" in arguments:
        arguments = [*arguments, "--vocabulary", _vocabulary(tmp_path)]
    done = program(module, *arguments, *out_of(module, tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert done.stdout == ""


def out_of(module: str, folder: Path) -> list[object]:
    if module == "catlip.label":
        return []
    return ["--out", folder / ("probe.json" if module.endswith("linear_probe") else "run")]


def _vocabulary(folder: Path) -> Path:
    from catlip.vocabulary import Source, Synset, Vocabulary

    synsets = (Synset(2084071, "dog.n.01", 9), Synset(2121620, "cat.n.01", 8))
    Vocabulary("paper", "3.0", None, Source(10, ("0",)), 3, None, synsets).save(folder / "vocabulary.json")
    return folder / "vocabulary.json"


def test_an_unwritable_out_says_so(program, tmp_path, starter) -> None:
    (tmp_path / "file").write_text("in the way")
    done = program(
        "baselines.pretrain", "--shards", starter.shards, "--out", tmp_path / "file" / "run", "--iterations", 1, "--epochs", 0
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "file" in done.stderr


def test_help_shows_an_example(program) -> None:
    for module in ("catlip.pretrain", "baselines.pretrain", "bench.step_time", "bench.downstream.linear_probe"):
        done = program(module, "--help")
        assert done.returncode == 0
        assert f"python -m {module}" in done.stdout


def test_shards_with_nothing_readable_are_refused(program, tmp_path) -> None:
    write_shard(tmp_path / "0.tar", [(str(i), {"png": b"not a picture", "txt": b"a dog"}) for i in range(4)])
    done = program("baselines.pretrain", "--shards", tmp_path, "--out", tmp_path / "run", "--micro-batch", 4)
    assert done.returncode == 2
    assert "can be read" in done.stderr.splitlines()[-1]
