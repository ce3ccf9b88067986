"""Tokens equal NLTK 3.8.1's, on the remembered words and on everything else."""

import json
from pathlib import Path

import nltk_rules as oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catlip.words.tokens import inner_word, last_word, sentences, tokenize

# Words that NLTK splits, and parts of them.
SPLIT = ["cannot", "gimme", "wanna", "gonna", "ca", "na", "d", "ye", "more", "n", "t", "is", "was"]
CORES = st.sampled_from([*SPLIT, "a", "dog", "x1", "2019", "3", "s", "ll", "\u017f", "é"])
JOINTS = st.sampled_from("-'.,:/_")
EDGES = (
    st.sampled_from(["", *'"([#@$']),
    st.sampled_from(["", *".,:;?!%"]),
    st.sampled_from(["", *'")]']),
)
CHARACTERS = "abnst019é \t<>{}`~|+=*&^'\".,:-\u2019\u201c\u2013"
PIECES = st.sampled_from([*CHARACTERS, "--", "...", "''", "'s", "n't"])
# Texts and their tokens, made once by NLTK 3.8.1. Later versions split most of these otherwise.
PINNED = dict(json.loads(Path(__file__).with_name("nltk_3_8_1.json").read_text()))


@st.composite
def ordinary_words(draw):
    before, mark, after = (draw(edge) for edge in EDGES)
    core = draw(CORES) + "".join(draw(st.lists(st.tuples(JOINTS, CORES).map("".join), max_size=3)))
    return before + core + mark + after + draw(st.sampled_from(["", *".,:;?!"]))


@pytest.mark.parametrize("tokens_of", [tokenize, oracle.word_tokenize])
def test_text_is_cut_as_the_pinned_version_of_nltk_cuts_it(tokens_of):
    assert {text: tokens_of(text) for text in PINNED} == PINNED


LONE = [*"-|/&=*@#$%~.,:;?!", "'s"]  # words as Flickr8k and CC3M write them


@pytest.mark.parametrize("word", LONE)
def test_mark_that_stands_alone_does_not_send_the_sentence_to_nltk(word):
    assert inner_word(word) == last_word(word) == (word,)


CLAUSES = st.lists(ordinary_words() | st.sampled_from(LONE), max_size=5).map(" ".join)


@settings(max_examples=500)
@given(st.lists(PIECES, max_size=25).map("".join) | st.lists(CLAUSES, max_size=5).map(". ".join))
@example("")
@example(" ")
@example("he said: 'tis ''fine'' ... (or) \"not\".")
@example("a dog. a cat")
@example("two lions , in the zoo 's cage ; grass in the background .")
@example('mr. smith and dr. no! vs. u.s. forces ... 3 a.m. (etc.) "why?" e.g. this.')
def test_sentences_and_words_end_where_nltk_ends_them(text):
    assert sentences(text) == oracle.sent_tokenize(text)
    assert tokenize(text) == oracle.word_tokenize(text)
