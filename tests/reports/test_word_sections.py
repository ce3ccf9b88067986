"""The sections on captions, labels and vocabulary: the right numbers, never of two scales, each
with its record.
"""

from report_support import golden_record, page_in, table, written

from catlip.vocabulary.result import STEPS, overlap_table


def test_the_overlap_is_that_of_the_matches(golden, tmp_path):
    record = written(tmp_path, golden_record(golden, "vocabulary_statistics"))
    (found,) = overlap_table({"paper": record}, "starter")
    matches = [row["similarity"] for row in record.samples["matches_imagenet"]]
    expected = [
        sum(similarity >= 1 / (1 + steps) for similarity in matches) for steps in (0, 1, 2, 4)
    ]
    assert len(STEPS) == len(expected)
    assert [int(cell.text) for cell in found.rows[1][3:7]] == expected
    assert found.rows[1][3].small == f"{100 * expected[0] / len(matches):.1f} %"


def test_numbers_of_two_scales_never_share_a_table(golden, tmp_path):
    content = golden_record(golden, "vocabulary_statistics")
    written(tmp_path, content)
    content["metrics"] |= {"num_classes": 24_321, "num_captions": 1_300_000_001}
    written(tmp_path, content, "datacomp")
    page = page_in(tmp_path)
    large, small = {"24,321", "1,300,000,001"}, {"33", "14,443"}
    for name, scale, own, other in (
        ("labels", "datacomp", large, small),
        ("labels_2", "starter", small, large),
    ):
        found = table(page, name)
        cells = {cell.text for row in found.rows for cell in row}
        assert own <= cells
        assert not other & cells
        assert scale in found.title
