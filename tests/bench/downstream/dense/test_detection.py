"""Mask R-CNN on an encoder: its parts and rates, and that its runs learn, and resume exactly."""

import copy
import json
import math
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("detectron2", reason="./run_all.sh --only setup installs it")

from detectron2.structures import Boxes
from small_coco import change_each, write_coco
from small_detection import SMALL, detect, micro_batches
from torchvision.ops import roi_align

from bench.downstream.dense.coco import read_coco
from bench.downstream.dense.detect.data import Stream, register, train_loader
from bench.downstream.dense.detect.model import MaskRCNN, mask_rcnn
from bench.downstream.dense.detect.trainer import LOSSES, DetectionTrainer, schedule
from bench.downstream.detection import Detection
from bench.downstream.encoders.feature_map import FeatureMap
from bench.downstream.encoders.load import open_encoder
from catlip.cli import InputError
from catlip.data.sampler import ImageSize
from catlip.recipes.base import DESCRIPTIONS
from catlip.recipes.dense import DETECTIONS
from catlip.training.distributed import Place
from catlip.training.preempt import EXIT_CODE

HERE = Place(0, 1, torch.device("cpu"))
VIT = replace(SMALL, scale_jitter=(), resolution=32, proposals=(50, 400), grad_clip=0.0)
TABLE = DETECTIONS["table_7e_b16"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("coco"))


def model_of(
    spelling: str, recipe: Any = SMALL, classes: int = 3, seed: int = 0, **how: Any
) -> MaskRCNN:
    torch.manual_seed(seed)
    return mask_rcnn(FeatureMap(open_encoder(spelling), **how), recipe, classes)


def batches(root: Path, folder: Path, recipe: Any, steps: int) -> list[Any]:
    stream = Stream(register(read_coco(root, "train"), folder / "train.json", True), seed=0)
    return list(
        train_loader(stream, recipe, micro_batches(recipe, 0, steps, HERE), seed=0, num_workers=0)
    )


def test_the_model_holds_the_encoder_s_own_weights() -> None:
    vit = open_encoder("random:vit_tiny16@64").module
    own = model_of("random:vit_tiny16@64", VIT).backbone.net.features.vit
    for name, tensor in own.state_dict().items():
        expected = vit.state_dict()[name]
        assert torch.equal(tensor, expected[:, 1:] if name == "pos_embed" else expected), name
    assert "cls_token" not in own.state_dict()


@pytest.mark.parametrize(
    ("spelling", "scales"),
    [
        ("random:vit_tiny16@64", (4.0, 2.0, 1.0, 0.5)),
        ("random:hybrid_mini@48", (4.0, 2.0, 1.0)),
    ],
)
@torch.inference_mode()
def test_the_pyramid_and_its_anchors_follow_the_encoder_s_stride(spelling, scales) -> None:
    levels = [f"p{number + 2}" for number in range(len(scales) + 1)]
    sides = [32 << number for number in range(len(levels))]
    model = model_of(spelling, replace(SMALL, pyramid_scales=scales)).eval()
    features = model.backbone(torch.rand(1, 3, 64, 64))
    assert {name: tuple(level.shape) for name, level in features.items()} == {
        name: (1, 16, 16 >> number, 16 >> number) for number, name in enumerate(levels)
    }
    areas = [
        cell.area().mean().sqrt().item()
        for cell in model.proposal_generator.anchor_generator(list(features.values()))
    ]
    assert areas == pytest.approx(sides, rel=1e-3)
    assert list(model.proposal_generator.in_features) == levels
    for found in (model.roi_heads.box_in_features, model.roi_heads.mask_in_features):
        assert list(found) == levels[:-1]


@torch.inference_mode()
def test_what_scores_too_little_counts_as_not_found() -> None:
    image = [{"image": torch.rand(3, 48, 48), "height": 48, "width": 48}]
    for least, is_found in ((0.0, True), (1.0, False)):
        model = model_of("random:hybrid_mini@48", replace(SMALL, least_score=least)).eval()
        (found,) = model(image)
        assert (len(found["instances"]) > 0) == is_found


@pytest.mark.parametrize(
    ("size", "released"), [("b", 111_559_099), ("l", 331_686_907), ("h", 662_682_171)]
)
def test_the_release_has_the_parameters_more_that_are_accounted_for(size, released) -> None:
    with torch.device("meta"):
        model = model_of(f"random:vit_{size}16_conv@224", DETECTIONS[f"table_7e_{size}16"], 80)
    convolution, biases, norms = 256 * 256 * 9 + 256 + 512, 8 * 256, 3 * 256
    background = 4 * (1024 + 1) + 257
    more = released - sum(p.numel() for p in model.parameters())
    assert more == convolution + biases + norms + background


def test_rates_and_decays_of_all_parameters() -> None:
    recipe = replace(TABLE, pyramid_channels=16, fc_channels=16)
    model = model_of("random:vit_tiny16@64", recipe)
    groups = DetectionTrainer(model, recipe, 1000, place=HERE, seed=0).optimizer.param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(p)]: (group["lr"] / 3e-4, group["weight_decay"])
        for group in groups
        for p in group["params"]
    }
    assert set(found) == set(names.values())
    vit = "backbone.net.features.vit."
    assert found[vit + "patch_embed.proj.weight"] == (pytest.approx(0.7**13), 0.1)
    assert found[vit + "blocks.3.attn.qkv.weight"] == (pytest.approx(0.7**9), 0.1)
    assert found[vit + "norm.weight"] == (pytest.approx(0.7), 0.0)
    assert found["range_augment.low.noise"] == (pytest.approx(0.7**13), 0.0)
    rest = {
        name: value for name, value in found.items() if not name.startswith((vit, "range_augment"))
    }
    assert [rate for rate, _ in rest.values()] == pytest.approx([1.0] * len(rest))
    decaying = {name for name, (_, decay) in rest.items() if decay}
    assert {decay for _, decay in rest.values()} == {0.0, 0.1}
    matrices = {name for name in rest if dict(model.named_parameters())[name].ndim >= 2}
    of_pyramid = {f"backbone.simfp_{number}.weight" for number in ("2.0", "2.3", "3.0")}
    assert matrices - decaying == of_pyramid, "its transposed convolutions"
    assert len(decaying) == 25, "26 in the release, whose last level is a convolution"
    assert "roi_heads.mask_head.deconv.weight" in decaying


def test_proposals_are_chosen_as_in_the_release() -> None:
    """An anchor that overlaps an object by half is background, and of the starter's neither."""
    overlaps = torch.tensor([[0.1, 0.5, 0.75], [0.2, 0.1, 0.1]])
    for recipe, half in ((replace(VIT, background_iou=0.7), 0), (VIT, -1)):
        generator = model_of("random:vit_tiny16@64", recipe).proposal_generator
        _, labels = generator.anchor_matcher(overlaps)
        assert labels.tolist() == [1, half, 1], "the first overlaps the second object most of all"
    recipe = replace(TABLE, pyramid_channels=16, fc_channels=16)
    generator = model_of("random:vit_tiny16@64", recipe).proposal_generator
    assert generator.anchor_matcher.thresholds[1:-1] == [0.7, 0.7]
    assert generator.pre_nms_topk == {True: 2000, False: 1000}
    assert generator.post_nms_topk == {True: 2000, False: 1000}


@pytest.mark.parametrize(("recipe", "beta"), [("table_7e_b16", 0), ("table_7e_b16_release", 1 / 9)])
def test_the_loss_of_boxes_is_that_of_the_recipe(recipe, beta) -> None:
    small = replace(DETECTIONS[recipe], pyramid_channels=16, fc_channels=16)
    model = model_of("random:vit_tiny16@64", small)
    assert model.proposal_generator.smooth_l1_beta == beta
    assert model.roi_heads.box_predictor.smooth_l1_beta == beta


def test_objects_are_pooled_as_in_the_release() -> None:
    """By torchvision's RoIAlign of 2 x 2 points a bin, without the shift by half a feature."""
    recipe = replace(VIT, pyramid_scales=(2.0, 1.0, 0.5), roi_sampling=2, roi_aligned=False)
    heads = model_of("random:vit_tiny16@64", recipe).roi_heads
    box = torch.tensor([[3.0, 5.0, 41.0, 30.0]])
    maps = [torch.randn(1, 16, 64 // stride, 64 // stride) for stride in (8, 16, 32)]
    for pooler, side in ((heads.box_pooler, 7), (heads.mask_pooler, 14)):
        how = {"spatial_scale": 1 / 8, "sampling_ratio": 2, "aligned": False}
        expected = roi_align(maps[0], [box], side, **how)
        torch.testing.assert_close(pooler(maps, [Boxes(box)]), expected)


@pytest.mark.parametrize("size", ["b", "l", "h"])
def test_the_release_s_batches_grow_as_its_squares_shrink(size) -> None:
    recipe, passes = DETECTIONS[f"table_7e_{size}16_release"], {"b": 100, "l": 100, "h": 80}[size]
    sizes = recipe.sizes()
    assert (sizes[0], sizes[-1], len(sizes)) == (ImageSize(512, 8), ImageSize(1280, 1), 25)
    assert ImageSize(1024, 2) in sizes
    assert sum(size.batch for size in sizes) / 25 == pytest.approx(2.84)
    plan = recipe.plan(117_266, seed=0)
    assert len(plan) == recipe.num_steps(117_266) == round(passes * 117_266 / (64 * 2.84))
    assert plan.starts[-1] / 117_266 == pytest.approx(passes, rel=0.01)
    paper = DETECTIONS[f"table_7e_{size}16"]
    assert recipe.lr_step_epochs == tuple(4 * epoch for epoch in paper.lr_step_epochs)
    assert paper.sizes() == sizes, "Appendix A's multi-scale sampler"
    assert paper.num_steps(117_266) == pytest.approx(len(plan) / 4, abs=1)


def test_jittered_images_fill_the_squares_of_their_step(small, tmp_path) -> None:
    recipe = replace(SMALL, resolution=64, square_sides=(32, 96, 3), micro_batch=2)
    model = model_of("random:hybrid_mini@48", recipe)
    made = batches(small, tmp_path, recipe, 12)
    squares = {tuple(model.preprocess_image(batch).tensor.shape) for batch in made}
    assert squares == {(8, 3, 32, 32), (2, 3, 64, 64), (1, 3, 96, 96)}
    assert {image["image"].shape[-1] for batch in made for image in batch} > {32, 64, 96}


def test_the_rate_warms_up_and_falls_twice() -> None:
    steps = 25_000
    rate = schedule(TABLE, steps)
    assert rate(0.0) * TABLE.max_lr == pytest.approx(1e-5)
    assert rate(125 / steps) * TABLE.max_lr == pytest.approx((1e-5 + 3e-4) / 2)
    rates = [rate(step / steps) for step in (250, 21_999, 22_000, 23_999, 24_000, 24_999)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert schedule(TABLE, 100)(10 / 100) == 1, "a short run warms up for a tenth of it"
    assert schedule(replace(TABLE, epochs=1), 1)(0.0) == 1, "and one of a single step not at all"


@torch.inference_mode()
def test_a_window_over_everything_is_global_attention(vit_two) -> None:
    images = torch.rand(1, 3, 64, 64)
    whole, windowed = (
        model_of(vit_two, VIT, window=window).eval().backbone(images) for window in (0, 4)
    )
    for name, level in whole.items():
        torch.testing.assert_close(windowed[name], level)


def test_two_micro_batches_of_two_give_the_gradient_of_one_of_four(
    small, tmp_path, vit_two
) -> None:
    """Of one image four times: its losses are means over what is sampled, which is all there is."""
    ((image, *_),) = batches(small, tmp_path, VIT, 1)
    gradients = []
    for micro_batch in (4, 2):
        recipe = replace(VIT, micro_batch=micro_batch, num_devices=4 // micro_batch)
        trainer = DetectionTrainer(model_of(vit_two, recipe), recipe, 1, place=HERE, seed=0)
        trainer.reset_data_loader(
            lambda size=micro_batch: [[copy.copy(image)] * size] * (4 // size)
        )
        trainer.train(0, 1)
        gradients.append({name: p.grad for name, p in trainer.detector.named_parameters()})
        assert trainer.history["losses"].isfinite().all()
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-3, atol=1e-6, msg=name)


def test_range_augment_adds_a_loss_and_changes_images_in_training_only(small, tmp_path) -> None:
    recipe = replace(SMALL, range_augment=(40.0, 10.0))
    model, (batch,) = model_of("random:hybrid_mini@48", recipe), batches(small, tmp_path, recipe, 1)
    trainer = DetectionTrainer(model, recipe, 1, place=HERE, seed=0)
    trainer.reset_data_loader(lambda: [batch])
    trainer.train(0, 1)
    assert trainer.history["losses"][0, LOSSES.index("loss_range_augment")] > 0
    plain = model.eval().preprocess_image(batch).tensor
    assert not torch.equal(model.train().preprocess_image(batch).tensor, plain)
    assert 0 <= plain.min() < plain.max() <= 1


def ended(out: Path) -> dict[str, Any]:
    """What a run came to, apart from its times."""
    record = json.loads(out.read_text())
    kept = {name: value for name, value in record["metrics"].items() if name != "seconds"}
    weights = load_file(out.with_suffix("") / "weights.safetensors")
    listed = {name: tensor.tolist() for name, tensor in weights.items()}
    return {"metrics": kept, "samples": record["samples"], "weights": listed}


@pytest.mark.parametrize(
    ("stopped_by", "code", "saved"), [("end", 9, 4), ("SIGTERM", EXIT_CODE, 5)]
)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    small, tmp_path, monkeypatch, capsys, stopped_by, code, saved
) -> None:
    recipe = replace(SMALL, num_devices=2, micro_batch=2)  # two micro-batches a step
    detect(small, tmp_path / "whole.json", recipe, checkpoint_every=2)
    step = DetectionTrainer.run_step

    def cut(self: DetectionTrainer) -> None:
        if stopped_by == "SIGTERM" and self.iter == 4:
            signal.raise_signal(signal.SIGTERM)
        if self.iter == 5:
            sys.exit(9)
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(DetectionTrainer, "run_step", cut)
        with pytest.raises(SystemExit) as end:
            detect(small, tmp_path / "cut.json", recipe, checkpoint_every=2)
    assert end.value.code == code
    newest = max(path.name for path in (tmp_path / "cut/checkpoints").iterdir())
    assert newest == f"step-{saved:08d}.pt"
    assert (tmp_path / "cut.json.partial").exists()
    detect(small, tmp_path / "cut.json", recipe, checkpoint_every=2, num_workers=1)
    assert ended(tmp_path / "cut.json") == ended(tmp_path / "whole.json")
    left = sorted(path.name for path in (tmp_path / "cut").iterdir())
    assert left == ["score.json", "threads.txt", "weights.safetensors"]
    monkeypatch.setattr(DetectionTrainer, "train", None)
    detect(small, tmp_path / "cut.json", recipe)  # a finished run is not repeated
    assert ended(tmp_path / "cut.json") == ended(tmp_path / "whole.json")
    with pytest.raises(InputError, match=r"cut\.json .*seed 0 there, 1 now"):
        detect(small, tmp_path / "cut.json", recipe, seed=1)
    assert not (tmp_path / "cut.json.partial").exists()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[1] == f"wrote {tmp_path / 'whole.json'}"
    assert "box AP" in lines[0]


def test_images_that_are_left_out_are_counted_and_listed_and_said(tmp_path, capsys) -> None:
    root = write_coco(tmp_path / "coco")
    (root / "val2017" / "000000001003.jpg").write_bytes(b"")
    (root / "train2017" / "000000000004.jpg").unlink()
    (root / "train2017" / "000000000005.jpg").write_bytes(b"GIF89a")
    detect(root, tmp_path / "run.json", replace(SMALL, epochs=0.3))
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["metrics"]["broken"] == {"missing": 1, "damaged": 1, "empty": 1}
    assert [key.split("/")[-1] for key in record["samples"]["broken_keys"]] == [
        "train2017:000000000004.jpg (missing)",
        "train2017:000000000005.jpg (damaged)",
        "val2017:000000001003.jpg (empty)",
    ]
    assert (record["metrics"]["num_train"], record["metrics"]["num_val"]) == (10, 5)
    assert "1 missing, 1 damaged, 1 empty" in capsys.readouterr().out
    with pytest.raises(InputError, match="--max-broken 0"):
        detect(root, tmp_path / "none.json", max_broken=0.0)


def test_without_a_name_the_record_has_those_of_encoder_and_data() -> None:
    named = Detection(encoder="random:hybrid_mini@48", data="coco:/data/scenes")
    assert named.out == Path("runs/bench/detection/random-hybrid_mini@48-coco-scenes.json")


def test_a_run_cut_short_by_another_recipe_is_refused(small, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(DetectionTrainer, "weights", lambda self: sys.exit(9))
    with pytest.raises(SystemExit):
        detect(small, tmp_path / "run.json")
    with pytest.raises(InputError, match=r"max_lr 0\.002 there, 0\.01 now"):
        detect(small, tmp_path / "run.json", replace(SMALL, max_lr=0.01))


def test_ten_images_can_be_learnt_by_heart(small, tmp_path) -> None:
    long = {"epochs": 100, "lr_step_epochs": (80,)}
    recipe = replace(SMALL, **long, scale_jitter=(), ema_decay=0.8, pyramid_channels=32)
    detect(small, tmp_path / "run.json", recipe, overfit=4)
    record = json.loads((tmp_path / "run.json").read_text())
    losses = [loss for _, loss in record["samples"]["loss"]]
    assert len(losses) == 100
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert record["metrics"]["box_ap50"] > 0.3
    assert record["metrics"]["overfit"] == 4
    assert record["metrics"]["num_train"] == record["metrics"]["num_val"] == 4
    parts = [curve for name, curve in record["samples"].items() if name.startswith("loss_")]
    assert sum(curve[-1][1] for curve in parts) == pytest.approx(losses[-1])


def test_a_loss_that_is_not_finite_stops_the_run_in_one_line(small, tmp_path) -> None:
    with pytest.raises(InputError, match="--max-lr"):
        detect(small, tmp_path / "run.json", replace(SMALL, max_lr=1e30, grad_clip=0.0, epochs=8))


def test_what_the_program_cannot_do_is_said_in_one_line(small, tmp_path, monkeypatch) -> None:
    for change, said in (
        ({"precision": "bf16"}, "precision bf16"),
        ({"pyramid_scales": (4.0, 1.0)}, r"4\.0.* 1\.0"),
        ({"scale_jitter": (2.0, 0.1)}, r"2\.0.* 0\.1"),
    ):
        with pytest.raises(InputError, match=said):
            detect(small, tmp_path / "run.json", replace(SMALL, **change))
    with pytest.raises(InputError, match="resnet18"):
        detect(small, tmp_path / "run.json", encoder="random:timm/resnet18")
    crowds = write_coco(tmp_path / "crowds", train=3, val=1)
    change_each(crowds, "train", lambda a: a | {"iscrowd": 1})
    with pytest.raises(InputError, match=str(crowds)):
        detect(crowds, tmp_path / "run.json")
    monkeypatch.setitem(sys.modules, "detectron2", None)
    monkeypatch.delitem(sys.modules, "bench.downstream.dense.detect.task", raising=False)
    for name in [name for name in sys.modules if name.startswith("bench.downstream.dense.detect.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"detectron2 .*run_all\.sh --only setup"):
        detect(small, tmp_path / "run.json")


@pytest.mark.slow
def test_two_ranks_train_and_test_as_one(succeed, small, tmp_path) -> None:
    """Apart from rounding, on an encoder whose batch norms would see other batches."""
    recipe = replace(SMALL, micro_batch=2, num_devices=2)
    detect(small, tmp_path / "one.json", recipe, encoder="random:vit_tiny16@48")
    options = ["--encoder", "random:vit_tiny16@48", "--data", f"coco:{small}", "--device", "cpu"]
    for name, value in vars(recipe).items():
        if name not in DESCRIPTIONS and not isinstance(value, bool):
            values = [value] if not isinstance(value, tuple) else value
            options += [f"--{name.replace('_', '-')}", *values]
    more = ("--num-workers", 0, "--draw", 2, "--quiet", "--out", tmp_path / "two.json")
    succeed("bench.downstream.detection", *options, *more, ranks=2)
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    losses, expected = ([loss for _, loss in record["samples"]["loss"]] for record in (two, one))
    assert losses == pytest.approx(expected, rel=1e-2)
    assert two["metrics"]["objects_cropped_away"] == one["metrics"]["objects_cropped_away"]
    keys, expected = ([p["key"] for p in record["samples"]["pictures"]] for record in (two, one))
    assert keys == expected
    assert math.isfinite(two["metrics"]["box_ap"])
