"""Labels of the target data sets: their names, as packages ship them, and their synsets."""

import pytest

from catlip.cli import InputError
from catlip.vocabulary.label_sets import imagenet_synsets, label_set, synsets_of
from catlip.words.wordnet import nouns


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Swimming Pool", ["swimming_pool.n.01"]),
        ("restaurant_kitchen", ["restaurant.n.01", "kitchen.n.01"]),
        ("archaeological_excavation", []),
        ("ice_cream_parlor", ["ice_cream.n.01", "parlor.n.01"]),
        ("church/outdoor", ["church.n.01"]),
        ("crane (bird)", ["crane.n.01"]),
        ("merry-go-round", ["merry-go-round.n.01"]),
        ("beds", ["bed.n.01"]),
        ("room_room", ["room.n.01"]),
        ("", []),
    ],
)
def test_name_becomes_the_synsets_of_its_longest_parts(name, expected):
    assert [nouns().name(synset) for synset in synsets_of(name)] == expected


def test_imagenet_s_labels_are_its_synsets_in_their_usual_order():
    labels = label_set("imagenet")
    assert labels.synsets == tuple((synset,) for synset in imagenet_synsets())
    assert len(set(imagenet_synsets())) == 1000
    assert labels.names[0] == "tench.n.01"
    assert imagenet_synsets()[0] == 1440764


PLACES = ("airfield", "apartment_building/outdoor")
PLACES += ("archaeological_excavation", "restaurant_kitchen")


def test_names_of_places_are_read_alike_from_list_and_images(tmp_path):
    listing, images = tmp_path / "categories_places365.txt", tmp_path / "images"
    lines = [f"/{name[0]}/{name} {number}\n" for number, name in enumerate(PLACES)]
    listing.write_text("".join(lines))
    for name in PLACES:
        (images / "train" / name.replace("/", "-")).mkdir(parents=True)
    (images / "train" / "readme.txt").write_text("not a category")
    found = [label_set(f"places365:{place}") for place in (listing, tmp_path, images)]
    assert found[0] == found[1] == found[2]
    assert found[0].names == PLACES
    assert [len(synsets) for synsets in found[0].synsets] == [1, 1, 0, 2]


def test_a_file_of_class_names_is_a_label_set_in_its_order(tmp_path):
    (tmp_path / "mine.txt").write_bytes(
        b"\xef\xbb\xbfdog\r\n\r\n  Kitchen sink \r\ncrane.n.04\nquokka"
    )
    labels = label_set(str(tmp_path / "mine.txt"))
    assert labels.name == "mine.txt"
    assert labels.names == ("dog", "Kitchen sink", "crane.n.04", "quokka")
    dog, crane = ((nouns().find(name),) for name in ("dog.n.01", "crane.n.04"))
    assert labels.synsets == (dog, synsets_of("kitchen_sink"), crane, ())


@pytest.mark.parametrize(
    ("spec", "content"),
    [
        *((spec, None) for spec in ("cifar", "places365", "coco:/data/coco")),
        *((f"places365:{place}", None) for place in ("/nowhere", "empty")),
        *(("places365:list.txt", content) for content in (b"", b"/a/airfield 0\n<html>\n")),
        *(("mine.txt", content) for content in (b"", b" \n\n", b"dog\ncat\ndog\n", b"\xff\xfe\n")),
    ],
)
def test_what_is_no_label_set_is_refused(tmp_path, monkeypatch, spec, content):
    monkeypatch.chdir(tmp_path)
    named = spec.removeprefix("places365:")
    (tmp_path / "empty" / "train").mkdir(parents=True)
    if content is not None:
        (tmp_path / named).write_bytes(content)
    with pytest.raises(InputError, match=named):
        label_set(spec)
