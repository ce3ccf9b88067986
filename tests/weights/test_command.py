"""`python -m catlip.weights`, on a checkpoint of ViT-B as a user runs it, and on smaller ones."""

import re
from pathlib import Path

import pytest
import release
import torch
from one_line import one_line_error

from catlip.cli import InputError
from catlip.program.ranges import check_ranges
from catlip.weights import read_checkpoint
from catlip.weights.__main__ import Convert, main
from catlip.weights.show import Show, show, summary
from catlip.weights.targets import to_ours, to_timm
from catlip.weights.write import write_safetensors

MODULE = "catlip.weights"


@pytest.fixture(scope="module")
def vit_b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released fine-tuned checkpoint of ViT-B, in half precision: 173 MB."""
    path = tmp_path_factory.mktemp("released") / "vit_base.pt"
    weights = release.checkpoint("classification", *release.SIZES["vit_b16_conv"], 365)
    halves = {name: t.half() if t.is_floating_point() else t for name, t in weights.items()}
    torch.save(halves, path)
    return path


def test_show_and_convert_there_and_back(vit_b, program, tmp_path) -> None:
    shown = program(MODULE, "show", vit_b)
    assert shown.returncode == 0, shown.stderr
    for words in ("released", "vit_b16_conv", "365", "86,236,019", "170", "noise"):
        assert words in shown.stdout, words
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pt"
    for source, target, out in ((vit_b, "ours", ours), (ours, "released", back)):
        done = program(MODULE, "convert", source, "--to", target, "--out", out)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"wrote {out}"
    before, after = (torch.load(path, weights_only=True, mmap=True) for path in (vit_b, back))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_folder_for_the_hub_is_written(vit_b, program, tmp_path) -> None:
    hub = tmp_path / "hub"
    options = ("--to", "huggingface", "--out", hub, "--resolution", 256)
    done = program(MODULE, "convert", vit_b, *options)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in hub.iterdir()}
    assert names == {"model.safetensors", "config.json", "README.md"}
    assert "RangeAugment" in done.stdout
    assert '"img_size": 256' in (hub / "config.json").read_text()
    encoder = summary(hub / "model.safetensors")["encoder"]
    assert encoder == "vit_b16_conv at 256 pixels, pool token"


def test_show_names_what_it_does_not_understand(tmp_path) -> None:
    torch.save({"stem.weight": torch.zeros(3), "stem.bias": torch.zeros(3)}, tmp_path / "other.pt")
    found = summary(tmp_path / "other.pt")
    assert (found["layout"], found["parameters"]) == ("unknown", "6")
    assert found["holds"] == "stem.weight, stem.bias"
    weights = release.checkpoint("segmentation", *release.TINY, 3)
    torch.save(weights | {"aux_head.weight": torch.zeros(3)}, tmp_path / "more.pt")
    found = summary(tmp_path / "more.pt")
    assert (found["layout"], found["task"], found["classes"]) == ("released", "segmentation", "3")
    assert "aux_head.weight" in found["faults"]
    torch.save(release.checkpoint("classification", 64, 3), tmp_path / "small.pt")
    assert "vit_b16_conv" in summary(tmp_path / "small.pt")["faults"]


def test_show_knows_a_run_and_what_was_made_of_it(tmp_path, released_file) -> None:
    checkpoint = read_checkpoint(released_file("clip"))
    write_safetensors(tmp_path / "ours.safetensors", to_ours(checkpoint))
    write_safetensors(tmp_path / "timm.safetensors", to_timm(checkpoint, 96))
    ours, timm = (summary(tmp_path / f"{name}.safetensors") for name in ("ours", "timm"))
    assert (ours["layout"], ours["method"]) == ("ours", "clip, seed 0")
    assert ours["classes"] == "no classifier"
    assert (timm["layout"], timm["encoder"]) == ("timm", "conv_tiny at 96 pixels, pool token")
    assert "brightness" in ours
    assert "brightness" not in timm


@pytest.mark.parametrize(
    ("out", "to", "resolution", "says"),
    [
        ("x.pt", "timm", 0, ".safetensors"),
        ("x.safetensors", "released", 0, ".pt"),
        ("README.md", "huggingface", 0, "README.md"),
        ("x.safetensors", "ours", 64, "--resolution"),
        ("x.safetensors", "timm", 100, "multiple"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused(
    out, to, resolution, says, released_file, tmp_path
) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(InputError, match=re.escape(says)):
        main(Convert(released_file(), to, tmp_path / out, resolution))


def test_a_resolution_below_zero_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="resolution"):
        check_ranges(Convert("weights.pt", "timm", tmp_path / "x.safetensors", -16))


@pytest.mark.parametrize("target", ["released", "ours"])
def test_the_file_itself_is_not_overwritten(target, released_file, tmp_path) -> None:
    name = "weights.pt" if target == "released" else "weights.safetensors"
    path = released_file().rename(tmp_path / name)
    with pytest.raises(InputError, match=f"--out {path}"):
        main(Convert(path, target, path))


def test_what_a_user_got_wrong_is_one_line(program) -> None:
    done = program(MODULE, "show", "README.md")
    one_line_error(done, "README.md")


def test_the_folder_of_a_run_and_one_for_the_hub_are_read_like_their_files(
    released_file, tmp_path, capsys
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    converted = to_ours(read_checkpoint(released_file()))
    write_safetensors(run / "weights.safetensors", converted)
    show(Show(run))
    assert "conv_tiny" in capsys.readouterr().out
    main(Convert(run, "huggingface", tmp_path / "hub"))
    show(Show(tmp_path / "hub"))
    main(Convert(tmp_path / "hub", "ours", tmp_path / "again.safetensors"))
    before = read_checkpoint(run / "weights.safetensors")
    after = read_checkpoint(tmp_path / "again.safetensors")
    assert before.encoder.keys() == after.encoder.keys()
    assert all(torch.equal(before.encoder[name], after.encoder[name]) for name in before.encoder)
    for source, out in ((run, run / "weights.safetensors"), (tmp_path / "hub", tmp_path / "hub")):
        with pytest.raises(InputError, match=f"--out {out}"):
            main(Convert(source, "ours" if out.suffix else "huggingface", out))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        show(Show(tmp_path / "empty"))
