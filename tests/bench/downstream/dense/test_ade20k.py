"""ADE20k's layout: what its ids mean, what is wrong with files, and what the model is given of
them.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from PIL import Image
from small_ade20k import COLOURS, GREY, HEADER, files, write_ade20k, write_names, write_scene

from bench.downstream.dense.ade20k import ade20k_root, class_names, read_ade20k
from bench.downstream.dense.segment.data import (
    SceneDataset,
    Stream,
    training_loader,
    validation_pipeline,
)
from bench.downstream.dense.segment.model import segmentor
from bench.downstream.dense.stream import Positions
from bench.downstream.encoders.feature_map import FeatureMap
from bench.downstream.encoders.load import open_encoder
from catlip.cli import InputError
from catlip.recipes.dense import STARTER_SEGMENTATION
from catlip.training.distributed import Place

RECIPE = replace(
    STARTER_SEGMENTATION,
    resolution=32,
    short_side=(24, 64),
    longest_side=100,
    micro_batch=4,
    head_channels=8,
)


@pytest.fixture
def root(tmp_path):
    return write_ade20k(tmp_path / "ade20k")


def labels_of(split, number=0):
    scenes = SceneDataset(split, validation_pipeline(32, keep_ratio=False))
    return scenes[number]["data_samples"].gt_sem_seg.data[0].numpy()


def pixels_of(scene):
    """RGB [H, W, 3] of what mmsegmentation holds as BGR."""
    return scene["inputs"].flip(0).permute(1, 2, 0).numpy().astype(int)


def test_a_name_is_the_first_of_several(root):
    assert class_names(root) == ["person", "tree", "sea"]
    write_names(root, "building;edifice", "sky ")
    assert class_names(root) == ["building", "sky"]


def test_without_a_list_the_classes_are_ade20ks(root):
    (root / "objectInfo150.txt").unlink()
    names = class_names(root)
    assert (len(names), names[0], names[12], names[149]) == (150, "wall", "person", "flag")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", " 0 "),
        (f"{HEADER}\n1\t0\t0\t0\t0\twall\n", " 1 "),
        (f"{HEADER}\n1\t0\t0\t0\t0\twall\n3\t0\t0\t0\t0\tsky\n", " 1"),
        ("Number\tWord\n1\twall\n2\tsky\n", "Idx.*Name"),
        (f"{HEADER}\n1\t0\n2\t0\n", "Idx.*Name"),
    ],
)
def test_a_list_of_classes_that_is_none_is_refused(root, text, said):
    (root / "objectInfo150.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        class_names(root)


def test_class_i_has_id_i_plus_1_and_0_and_255_are_not_judged(root):
    annotated = np.array([[0, 1, 2, 3, 255]], dtype=np.uint8).repeat(5, axis=0)
    write_scene(root, "train", "a_first", annotated)
    np.testing.assert_array_equal(labels_of(read_ade20k(root, "train"))[0], [255, 0, 1, 2, 255])


def test_a_few_pixels_of_ids_that_no_class_has_are_counted_and_not_judged(root):
    annotated = np.array([[1, 2, 3, 4, 254]], dtype=np.uint8).repeat(2, axis=0)
    write_scene(root, "train", "a_first", annotated)
    split = read_ade20k(root, "train")
    assert split.counts["unknown_pixels"] == 4
    np.testing.assert_array_equal(labels_of(split)[0], [0, 1, 2, 255, 255])


def test_many_of_them_are_refused(root):
    write_names(root, "person", "tree")
    with pytest.raises(InputError, match=r"33%.* 2\b"):
        read_ade20k(root, "train")


def test_an_annotation_may_have_a_palette(root):
    _, path = files(root, "train", "train_0000")
    before = labels_of(read_ade20k(root, "train"))
    with Image.open(path) as annotation:
        ids = Image.fromarray(np.asarray(annotation), "P")
    ids.putpalette([number for colour in COLOURS.values() for number in colour])
    ids.save(path)
    np.testing.assert_array_equal(labels_of(read_ade20k(root, "train")), before)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


WIDE = np.ones((48, 40), dtype=np.uint16)
# What is done to a scene, what it is counted as, and why.
FAULTS = [
    (lambda image, ids: ids.unlink(), "without_annotation", "no annotation"),
    (lambda image, ids: image.unlink(), "without_image", "annotation without an image"),
    (
        lambda image, ids: Image.new("L", (48, 40)).save(ids),
        *("other_size", "annotation of another size"),
    ),
    (lambda image, ids: truncate(image), "unreadable", "cut short"),
    (
        lambda image, ids: image.write_bytes(b"<html>"),
        *("unreadable", "not a JPEG, PNG, WebP or GIF"),
    ),
    (lambda image, ids: ids.write_bytes(b""), "unreadable", "annotation empty"),
    (
        lambda image, ids: Image.new("RGB", (40, 48)).save(ids),
        *("unreadable", "annotation not of 8-bit ids"),
    ),
    (lambda image, ids: image.write_bytes(b""), "unreadable", "empty"),
    (
        lambda image, ids: Image.fromarray(WIDE).save(ids),
        *("unreadable", "annotation not of 8-bit ids"),
    ),
]


@pytest.mark.parametrize(("spoil", "kind", "cause"), FAULTS)
def test_a_scene_with_a_fault_is_counted_and_left_out(root, spoil, kind, cause):
    spoil(*files(root, "train", "train_0003"))
    split = read_ade20k(root, "train")
    kinds = ("without_annotation", "without_image", "other_size", "unreadable")
    assert {name: split.counts[name] for name in kinds} == {**dict.fromkeys(kinds, 0), kind: 1}
    assert split.counts["images"] == 12
    assert len(split.scenes) == 11
    assert "train_0003" not in [scene.image.stem for scene in split.scenes]
    assert split.broken.counts() == {cause: 1}
    assert split.broken.listed() == [f"{root / 'images/training'}:train_0003.jpg ({cause})"]


def test_many_faults_are_refused_in_one_line(tmp_path):
    root = write_ade20k(tmp_path / "ade20k", train=20)
    for number in range(11):
        files(root, "train", f"train_{number:04d}")[1].unlink()
    told = r"11 no annotation.*train_0000.* 20 .*--max-broken 0\.01"
    with pytest.raises(InputError, match=told) as error:
        read_ade20k(root, "train")
    assert "\n" not in str(error.value)
    assert len(read_ade20k(root, "train", max_broken=0.6).scenes) == 9


def test_what_is_odd_but_right_is_counted(root):
    write_scene(root, "val", "nothing", np.zeros((30, 30), dtype=np.uint8))
    for number in range(6):
        image, annotation = files(root, "val", f"val_{number:04d}")
        with Image.open(annotation) as found:
            ids = np.asarray(found).copy()
        ids[ids == 2] = 0
        Image.fromarray(ids).save(annotation)
    with Image.open(image) as picture:
        grey = picture.convert("L")
    grey.save(image)
    counts = read_ade20k(root, "val").counts
    names = ("images", "grey", "without_classes", "empty_classes")
    assert [counts[name] for name in names] == [7, 1, 1, 1]


def test_a_folder_that_is_not_there_is_named(root):
    (root / "images" / "validation").rename(root / "images" / "test")
    with pytest.raises(InputError, match="images/validation/"):
        read_ade20k(root, "val")


@pytest.mark.parametrize("spelling", ["ade20k", "ade20k:", "coco:/data/coco", "/data/ade"])
def test_another_spelling_is_refused(spelling):
    with pytest.raises(InputError, match="ade20k:DIR"):
        ade20k_root(spelling)


def test_the_model_gets_rgb_in_0_to_1_with_labels_that_fit_and_padding_that_is_not_judged(root):
    """However a scene is resized, flipped and cropped, pixels of a class have its colour."""
    stream = Stream(read_ade20k(root, "train"), RECIPE, seed=0)
    model = segmentor(FeatureMap(open_encoder("random:vit_tiny16@32"), 8), RECIPE, 3)
    scenes = pseudo_collate([stream[position] for position in range(24)])
    batch = model.data_preprocessor(scenes, training=True)
    images = batch["inputs"]
    labels = torch.stack([sample.gt_sem_seg.data[0] for sample in batch["data_samples"]])
    assert images.shape == (24, 3, 32, 32)
    assert (images == 0).all(dim=1).any(), "some scenes were smaller than the crop"
    assert (labels[(images == 0).all(dim=1)] == 255).all()
    for class_id, colour in enumerate(COLOURS.values()):
        found = images.movedim(1, -1)[labels == class_id].median(dim=0).values
        torch.testing.assert_close(found, torch.tensor(colour) / 255, atol=0.03, rtol=0)
    ignored = images.movedim(1, -1)[(labels == 255) & (images != 0).any(dim=1)].median(dim=0).values
    torch.testing.assert_close(ignored, torch.full((3,), GREY / 255), atol=0.03, rtol=0)


def test_pictures_are_resized_as_pillow_does_it(tmp_path):
    """Which averages where it makes an image smaller: a fine pattern becomes grey, and does not
    flicker.
    """
    root = write_ade20k(tmp_path / "ade20k", train=0, val=1, height=160, width=160)
    image, _ = files(root, "val", "val_0000")
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(image, quality=100, subsampling=0)
    with Image.open(image) as picture:
        expected = np.asarray(picture.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    split = read_ade20k(root, "val")
    for keep_ratio in (False, True):
        found = pixels_of(SceneDataset(split, validation_pipeline(32, keep_ratio))[0])
        assert np.abs(found - expected).max() <= 3, "but for the decoder"
    write_scene(root, "train", "same", np.asarray(Image.open(files(root, "val", "val_0000")[1])))
    Image.fromarray(noise).save(files(root, "train", "same")[0], quality=100, subsampling=0)
    recipe = replace(RECIPE, short_side=(32, 32))
    crop = pixels_of(Stream(read_ade20k(root, "train"), recipe, seed=0)[0])
    flipped = expected[:, ::-1]
    assert min(np.abs(crop - expected).max(), np.abs(crop - flipped).max()) <= 3


def test_a_picture_that_a_camera_turned_stays_on_its_annotation(root):
    image, _ = files(root, "train", "train_0000")
    with Image.open(image) as picture:
        exif = picture.getexif()
        exif[0x0112] = 6  # "turn me by 90 degrees"
        picture.save(image, exif=exif, quality=100)
    scene = SceneDataset(read_ade20k(root, "train"), validation_pipeline(32, keep_ratio=True))[0]
    assert scene["data_samples"].ori_shape == (48, 40)


def test_crops_that_one_class_fills_are_drawn_again(tmp_path):
    labels = np.ones((100, 100), dtype=np.uint8)
    labels[:, 60:] = 2
    write_scene(tmp_path, "train", "half", labels)
    write_names(tmp_path, "person", "tree")

    def share_of_one(most):
        recipe = replace(RECIPE, short_side=(100, 100), most_of_one_class=most)
        stream = Stream(read_ade20k(tmp_path, "train"), recipe, seed=0)
        crops = [stream[position]["data_samples"].gt_sem_seg.data for position in range(40)]
        return np.mean([len(crop.unique()) == 1 for crop in crops])

    assert share_of_one(0.75) < 0.1 < share_of_one(1.0)


def test_a_position_holds_the_same_for_any_workers_and_another_one_in_the_next_epoch(root):
    split, place = read_ade20k(root, "train"), Place(0, 1, torch.device("cpu"))
    stream = Stream(split, RECIPE, seed=1)
    by_workers = []
    for workers in (0, 2):
        loader = training_loader(Stream(split, RECIPE, seed=1), Positions(4, 6, place), workers)
        by_workers.append([batch["inputs"] for batch in loader])
    for alone, apart in zip(*by_workers, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(alone, apart, strict=True))
    epochs = [
        {stream[position]["data_samples"].img_path for position in range(first, first + 12)}
        for first in (0, 12)
    ]
    assert epochs[0] == epochs[1]
    assert len(epochs[0]) == 12
    first, fourth = by_workers[0][0], by_workers[0][3]
    assert not any(torch.equal(a, b) for a, b in zip(first, fourth, strict=True))


def test_ranks_share_the_micro_batches_of_one():
    def of(world_size, micro_steps):
        places = [Place(rank, world_size, torch.device("cpu")) for rank in range(world_size)]
        return [list(Positions(2, micro_steps, place)) for place in places]

    (alone,), (first, second) = of(1, 4), of(2, 2)
    assert alone == list(range(8))
    assert (first, second) == ([0, 1, 4, 5], [2, 3, 6, 7])


def test_skipping_goes_on_where_a_run_stopped():
    positions = Positions(2, 4, Place(1, 2, torch.device("cpu")))
    whole = list(positions)
    positions.skip(4)
    assert list(positions) == whole[4:]
    assert len(positions) == 4
