"""Sentences have the class that they are about, and hits are those that NLTK counts."""

import itertools
import json

import numpy as np
import pytest

from bench.label_accuracy.measure import COUNTED, measure
from bench.label_accuracy.prompts import KINDS, Prompt, read_prompts
from bench.label_accuracy.result import SHARES
from bench.labelling import nltk_rules


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return read_prompts()


@pytest.fixture(scope="module")
def some(prompts: list[Prompt]) -> list[Prompt]:
    """300 prompts of 150 classes, those of a class together."""
    groups = itertools.groupby(prompts, key=lambda prompt: prompt.name)
    by_name = [list(group) for _, group in groups]
    return [prompt for group in by_name[::7] for prompt in (group[3], group[-1])]


def test_every_class_has_its_sentences_once(prompts: list[Prompt]) -> None:
    assert len({prompt.text for prompt in prompts}) == len(prompts) == 144_796
    assert [sum(prompt.kind == kind for prompt in prompts) for kind in KINDS] == [64_956, 79_840]
    synsets = {prompt.name: prompt.synsets for prompt in prompts}
    assert len(synsets) == 998
    assert len(frozenset().union(*synsets.values())) == 1000
    assert {name for name, found in synsets.items() if len(found) == 2} == {"missile", "sunglasses"}
    assert synsets["tench"] == {1440764}
    assert synsets["crane bird"] == {2012849}
    assert synsets["construction crane"] == {3126707}
    assert synsets["toilet paper"] == {15075141}


@pytest.mark.parametrize("rule", ["paper", "corenet"])
def test_counts_are_those_of_plain_nltk(some: list[Prompt], rule: str) -> None:
    wordnet, label = nltk_rules.wordnet(), getattr(nltk_rules, rule)
    expected = {kind: np.zeros(len(COUNTED), dtype=int) for kind in KINDS}
    for prompt in some:
        labels = [wordnet.synset_from_pos_and_offset("n", offset) for offset in label(prompt.text)]
        right = [wordnet.synset_from_pos_and_offset("n", offset) for offset in prompt.synsets]
        best = max((one.path_similarity(other) for one in labels for other in right), default=0)
        expected[prompt.kind] += [1, best == 1, best >= 0.5, best > 0.3]
    found = measure([rule], some, quiet=True)
    for kind, sentences in found.groupby("kind"):
        assert [sentences[name].sum() for name in COUNTED] == expected[kind].tolist()


def test_a_run_writes_what_it_prints(succeed, tmp_path) -> None:
    out, rules = tmp_path / "label_accuracy" / "prompts.json", ("corenet", "paper_multiword")
    arguments = ("--rules", *rules, "--max-prompts", 150, "--out", out, "--quiet")
    done = succeed("bench.label_accuracy", *arguments)
    record = json.loads(out.read_text())
    metrics, samples = record["metrics"], record["samples"]
    assert record["kind"] == "label_accuracy"
    assert sum(kinds["prompts"] for kinds in metrics["rules"]["corenet"].values()) == 150
    for rule, kind in itertools.product(rules, KINDS):
        found, total = metrics["rules"][rule][kind], sum(samples[f"{kind}_prompts"])
        assert found["prompts"] == total
        for name in SHARES:
            hits, value = samples[f"{rule}_{kind}_{name}"], found[name]["value"]
            assert len(hits) == len(samples["classes"]) == metrics["classes"]
            assert value == pytest.approx(sum(hits) / total)
            assert f"{100 * value:.1f} (" in done.stdout
    gain = metrics["differences"]["paper_multiword - corenet"]["description"]
    exact = [metrics["rules"][rule]["description"]["exact"]["value"] for rule in rules]
    assert gain["value"] == pytest.approx(exact[1] - exact[0])
