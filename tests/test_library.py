"""What `import catlip` gives is what the programs do, and changes nothing of the process."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import save
from PIL import Image
from torch import nn

import catlip
from catlip.categorical import Categorical
from catlip.cli import InputError
from catlip.data.loader import Batch
from catlip.data.shards import write_shard
from catlip.pretraining.method import base_rates_of

REPOSITORY = Path(__file__).parent.parent
CAPTIONS = ["two bikes", "a dog on a couch", "no word", "a retriever and a bike"] * 9


@pytest.fixture(scope="module")
def vocabulary() -> "catlip.Vocabulary":
    return catlip.Vocabulary.from_captions(CAPTIONS, threshold=8)


def test_importing_loads_nothing_and_changes_nothing() -> None:
    code = (
        "import os, sys; before = dict(os.environ), sys.excepthook, {*sys.modules}\n"
        "import catlip; assert (dict(os.environ), sys.excepthook) == before[:2]\n"
        "assert not {'torch', 'numpy', 'tyro'} & {*sys.modules}\n"
        "assert {*catlip.LIBRARY} <= {*dir(catlip)}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_caption_gives_nouns_in_its_order_with_glosses() -> None:
    found = catlip.Labeller()("A couch, two bikes and a couch")
    assert [(noun.word, noun.synset) for noun in found] == [
        ("couch", "sofa.n.01"),
        ("bikes", "motorcycle.n.01"),
    ]
    assert found[0].gloss == "an upholstered seat for more than one person"
    offsets = sorted(noun.offset for noun in found)
    assert catlip.Labeller().batch(["A couch, two bikes and a couch"]) == [offsets]


def test_vocabulary_of_captions_counts_each_caption_once(vocabulary, tmp_path) -> None:
    counts = {synset.name: synset.count for synset in vocabulary.synsets}
    assert counts["motorcycle.n.01"] == 18
    assert counts["dog.n.01"] == counts["sofa.n.01"] == 9
    assert vocabulary.source.captions == len(CAPTIONS)
    more = catlip.Vocabulary.from_captions([*CAPTIONS, "", "", "quickly"], threshold=8)
    assert more.source.without_label == 3
    vocabulary.save(tmp_path / "v.json")
    assert catlip.Vocabulary.load(tmp_path / "v.json") == vocabulary
    with pytest.raises(InputError, match="threshold"):
        catlip.Vocabulary.from_captions(CAPTIONS, threshold=100)


def test_targets_are_the_classes_of_each_caption(vocabulary) -> None:
    targets = vocabulary.targets(["a dog on a couch", "", "two bikes"])
    names = [vocabulary.synsets[each].name for each in targets.values.tolist()]
    assert targets.offsets.tolist() == [0, 2, 2, 3]
    assert {*names[:2]} == {"dog.n.01", "sofa.n.01"}
    assert names[2:] == ["motorcycle.n.01"]
    # As open_clip's loop moves its tokens, in whose place they may stand.
    assert targets.to(device="cpu", non_blocking=True).offsets.tolist() == [0, 2, 2, 3]


class Encoder(nn.Sequential):
    num_features = 8


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(nn.Flatten(), nn.Linear(3 * 4 * 4, 8))


def test_loop_of_ones_own_trains_like_the_suite_to_the_bit(vocabulary) -> None:
    suite = Categorical(encoder(), base_rates_of(vocabulary))
    mine, criterion = encoder(), catlip.CatLIPLoss(8, vocabulary)
    assert torch.equal(criterion.classifier.bias, suite.classifier.bias)
    criterion.classifier.load_state_dict(suite.classifier.state_dict())
    images, targets = torch.rand(5, 3, 4, 4), vocabulary.targets(CAPTIONS[:5])
    optimizers = [
        torch.optim.AdamW([*module.parameters()], lr=0.1)
        for module in (suite, nn.ModuleList([mine, criterion]))
    ]
    first = suite(Batch(images, ["key"] * 5, labels=targets)).item()
    for _ in range(50):
        losses = [
            suite(Batch(images, ["key"] * 5, labels=targets)),
            criterion(mine(images), targets),
        ]
        assert losses[0].item() == losses[1].item()
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert losses[0] < 0.5 * first
    assert torch.equal(criterion.classifier.weight, suite.classifier.weight)


def test_transferred_head_has_the_rows_of_its_nouns(vocabulary) -> None:
    criterion = catlip.CatLIPLoss(8, vocabulary)
    names = [synset.name for synset in vocabulary.synsets]
    head = catlip.transfer_head(criterion, vocabulary, ["sofa", "motorcycle"], alpha=1.0)
    for row, name in zip(head.weight, ("sofa.n.01", "motorcycle.n.01"), strict=True):
        assert torch.equal(row, criterion.classifier.weight[names.index(name)])
    retriever = criterion.classifier.weight[names.index("retriever.n.01")]
    for alpha in (0.5, 1.0):  # a golden retriever is one step away
        near = catlip.transfer_head(criterion, vocabulary, ["golden retriever"], alpha)
        assert torch.equal(near.weight[0], retriever) == (alpha == 0.5)
    other = catlip.Vocabulary.from_captions(CAPTIONS, top_k=2)
    with pytest.raises(InputError, match="does not fit"):
        catlip.transfer_head(criterion, other, ["sofa"])


def test_batches_have_crops_of_the_scale_that_is_asked_for(tmp_path) -> None:
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1)))
    write_shard(tmp_path / "0.tar", [("ramp", {"png": save(ramp, "PNG")})])
    how = {"batch_size": 8, "resolution": 32, "num_steps": 2, "crop_scale": (0.04, 0.04)}
    for batch in catlip.batches(str(tmp_path), num_workers=0, **how):
        shades = batch.images.flatten(1).int()
        assert (shades.amax(1) - shades.amin(1) < 256 * 0.2 * 1.2).all()


def test_code_of_the_page_runs(starter, capsys, tmp_path, monkeypatch) -> None:
    """In one namespace, from top to bottom, on a small starter."""
    monkeypatch.chdir(tmp_path)  # where a bench writes its record
    page = (REPOSITORY / "docs/library.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    code = code.replace("data/starter/pretrain", str(starter.shards))
    exec(code, {"__name__": "page"})
    assert "('bikes', 'motorcycle.n.01')" in capsys.readouterr().out
