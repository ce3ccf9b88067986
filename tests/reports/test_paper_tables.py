"""The paper's numbers, in two readings; only a run at its scale fills its cell."""

from pathlib import Path

import pytest
from report_support import compared_in

from catlip.records.table import NOTE
from reports.paper.paper_tables import NOT_RUN, OURS, RELEASED, RESULTS
from reports.paper.published import GROUP, TITLES, read_published
from reports.paper.recipe_tables import FIELDS, recipe_rows
from reports.paper.scale import is_enough

NOT_READ_TWICE = {"Image encoder", "Resolution", GROUP}


@pytest.mark.parametrize("name", TITLES)
def test_no_cell_lacks_a_source(name) -> None:
    begins = {"paper": "paper", "readme": "release", "config": "release"}
    for cell in read_published(name).cells:
        assert cell.source.split()[0] == begins[cell.reading], cell


def test_every_digit_is_the_same_in_a_second_reading() -> None:
    lines = (Path(__file__).parent / "second_reading.txt").read_text().splitlines()
    second: dict[str, list[list[str]]] = {}
    for name, *cells in (line.split(" | ") for line in lines if not line.startswith("#")):
        kept = [cell for cell in cells if not cell.startswith("DeepLab")]
        second.setdefault(name, []).append(kept)
    for name, rows in second.items():
        table = read_published(name)
        columns = [column for column in table.columns if column not in NOT_READ_TWICE]
        for row, expected in zip(table.rows, rows, strict=True):
            words = [table.text(row, column) for column in columns]
            with_a_digit = [word for word in words if any(map(str.isdigit, word))]
            found = [word for word in with_a_digit if not word.startswith(("ViT", "DeepLab"))]
            assert found == expected, name


def test_our_recipes_are_the_papers_but_for_length_on_cc3m_and_devices() -> None:
    every = [*recipe_rows(None)]
    assert len(FIELDS) > 15
    differing = [row for row in every if row["ours"] and row["ours"] != row["paper"]]
    differing = [row for row in differing if row["ours"] not in row["paper"].split("/")]
    # The batch of a step is the paper's: without checkpointing it takes twice the devices.
    laid_out = [int(row["ours"]) / int(row["paper"]) for row in differing]
    assert [row["field"] for row in differing] == ["Batch size per GPU", "# A100 GPUs"] * 2
    assert laid_out == [0.5, 2.0] * 2
    lengths = [row for row in every if row["field"] == "Max. Epochs" and "6(a)" in row["table"]]
    assert [row["column"] for row in lengths] == ["CLIP", "CatLIP"]
    assert all(row[NOTE] for row in lengths)


@pytest.fixture
def filled(write):
    """Every cell of ours that holds a number: (table, row's label, column) -> mean in %; and the
    notes at these rows.
    """

    def read():
        comparisons = compared_in(write.folder)
        found, notes = {}, []
        for spec in RESULTS:
            for row in spec.rows(comparisons):
                for column, value in row.items():
                    if column.endswith((OURS, RELEASED)) and value not in (None, NOT_RUN):
                        place = (spec.name, row["label"].rpartition(", ")[2], column)
                        found[place] = (round(100 * value.mean, 3), value.n)
                        notes.append(row[NOTE])
        return found, " ".join(notes)

    return read


@pytest.mark.parametrize(("scale", "row"), [("cc3m", "CC3M"), ("datacomp", "DataComp-1.3B")])
def test_probe_at_the_papers_scale_fills_its_cell_alone(write, filled, scale, row) -> None:
    for seed in range(2):
        top1 = {"imagenet_top1": 0.58 + 0.01 * seed}
        write.transfer("linear_probe", "catlip", scale, top1, seed)
        write.transfer("linear_probe", "clip", scale, {"imagenet_top1": 0.5}, seed)
    assert filled()[0] == {("table_1", row, "ImageNet-1k top-1, LP, ours"): (58.5, 2)}


def test_fine_tuning_fills_tables_1_and_2_by_method_encoder_and_resolution(write, filled) -> None:
    both = {"imagenet_top1": 0.84, "places365_top1": 0.59}
    write.transfer("finetune", "catlip", "datacomp", both)
    write.transfer(
        "finetune", "catlip", "datacomp", {"imagenet_top1": 0.88}, 0, "vit_l16", side=512
    )
    write.transfer("finetune", "clip", "datacomp", {"imagenet_top1": 0.845}, 0, "vit_b16_conv")
    found, notes = filled()
    imagenet, places = "ImageNet-1k top-1, ours", "Places365 top-1, ours"
    assert found == {
        ("table_1", "DataComp-1.3B", "ImageNet-1k top-1, FT, ours"): (84.0, 1),
        ("table_1", "DataComp-1.3B", "Places365 top-1, FT, ours"): (59.0, 1),
        ("table_2", "CLIP ViT B/16 (Our repro.)", imagenet): (84.5, 1),
        ("table_2", "CatLIP ViT B/16 (Ours)", imagenet): (84.0, 1),
        ("table_2", "CatLIP ViT B/16 (Ours)", places): (59.0, 1),
        ("table_2", "CatLIP ViT L/16 (Ours)", imagenet): (88.0, 1),
    }
    assert notes.count("three convolutions") == 1


def test_dense_transfer_fills_tables_3_to_5_from_datacomp_alone(write, filled) -> None:
    for scale in ("cc3m", "datacomp"):
        write.transfer("multilabel", "catlip", scale, {"map_macro": 0.88, "map_micro": 0.9})
        write.transfer("segmentation", "clip", scale, {"miou_fixed": 0.49, "miou_slide": 0.5})
        precisions = {"box_ap": 0.534, "mask_ap": 0.464}
        write.transfer("detection", "catlip", scale, precisions, encoder="vit_h16")
    assert filled()[0] == {
        ("table_3", "CatLIP", "COCO mAP, ours"): (88.0, 1),
        ("table_4", "CLIP (Our impl.)", "mIoU, ours"): (49.0, 1),
        ("table_5", "CatLIP", "COCO AP box, ours"): (53.4, 1),
        ("table_5", "CatLIP", "COCO AP mask, ours"): (46.4, 1),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": "starter"},
        {"scale": "starter", "folder": "datacomp"},
        {"images": 1e6},
        {"side": 80},
        {"method": "catlip:raw"},
        {"encoder": "hybrid_mini"},
        {"config": {"init": "transfer"}},
        {"config": {"encoder": "elsewhere/weights.safetensors"}},
        {"metrics": {"map_macro": "0.9"}},
        {"metrics": {"map_macro": 0.9, "num_classes": 21}},
    ],
)
def test_cells_take_nothing_below_the_papers_scale(write, filled, changes) -> None:
    papers = {"kind": "multilabel", "method": "catlip", "scale": "datacomp"}
    write.transfer(**papers | {"metrics": {"map_macro": 0.9}} | changes)
    assert filled()[0] == {}


def test_nine_tenths_of_the_papers_shortest_training_are_enough() -> None:
    for scale, images in (("cc3m", 25 * 2.9e6), ("datacomp", 200_000 * 65_536)):
        assert is_enough(0.91 * images, scale)
        assert not is_enough(0.89 * images, scale)
    assert not is_enough(1e12, "starter")


def test_cached_features_and_another_stem_are_said_and_a_nan_is_one(write, filled) -> None:
    half, none = {"imagenet_top1": 0.5}, {"imagenet_top1": float("nan")}
    write.transfer("linear_probe", "catlip", "cc3m", half, config={"cached_features": True})
    write.transfer("linear_probe", "catlip", "cc3m", none, 1, "vit_b16_conv")
    (((mean, n),), notes) = filled()[0].values(), filled()[1]
    assert (mean != mean, n) == (True, 2)
    assert "convolutions" in notes
    assert "without Table 7(a)'s augmentation" in notes


def test_releases_weights_have_a_column_of_their_own(write, filled) -> None:
    config = {"encoder": "released:vit_l16", "recipe": {"resolution": 512}}
    metrics = {"method": "released:vit_l16", "map_macro": 0.9, "num_classes": 80, "num_val": 5000}
    write.record("multilabel", "released", scale="bench", metrics=metrics, config=config)
    assert filled()[0] == {("table_3", "CatLIP", "COCO mAP, released weights"): (90.0, 1)}
