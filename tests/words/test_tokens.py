"""Tokens equal NLTK's, on the remembered words and on everything else."""

import nltk
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.wording import nltk_rules as oracle
from catlip.captions import clean
from catlip.words.sentences import sentences
from catlip.words.tokens import ORDINARY, tokenize

WORDS = [
    "a",
    "dog",
    "x1",
    "2019",
    "3",
    "cannot",
    "gimme",
    "wanna",
    "gonna",
    "d",
    "ye",
    "more",
    "n",
    "t",
    "s",
    "ll",
    "is",
    "was",
]
CORES = st.sampled_from([*WORDS, "\u017f", "é", "ca", "na"])
JOINTS = st.sampled_from("-'.,:/_")
EDGES = (
    st.sampled_from(["", *'"([#@$']),
    st.sampled_from(["", *".,:;?!%"]),
    st.sampled_from(["", *'")]']),
)
PIECES = st.sampled_from(
    [
        *"abnst019é <>{}`~|+=*&^",
        "'",
        '"',
        ".",
        ",",
        ":",
        "-",
        "--",
        "...",
        "''",
        "\u2019",
        "\u201c",
        "\u2013",
        "'s",
        "n't",
        "\t",
    ]
)


@st.composite
def ordinary_words(draw):
    before, mark, after = (draw(edge) for edge in EDGES)
    core = draw(CORES) + "".join(draw(st.lists(st.tuples(JOINTS, CORES).map("".join), max_size=3)))
    return before + core + mark + after + draw(st.sampled_from(["", *".,:;?!"]))


def nltk_tokens(text):
    oracle.wordnet()
    return nltk.word_tokenize(text)


@settings(max_examples=800)
@given(st.lists(ordinary_words(), min_size=1, max_size=8))
@example(["wanna", "dogs'", "cannot"])
@example(['"dog."', "-", '"cat"'])
def test_ordinary_words_are_cut_as_nltk_cuts_the_whole_caption(words):
    assert ORDINARY.fullmatch(words[0]) or "'" in words[0]
    assert tokenize(" ".join(words)) == nltk_tokens(" ".join(words))


@settings(max_examples=800)
@given(st.lists(PIECES, max_size=25).map("".join))
@example("")
@example(" ")
@example("he said: 'tis ''fine'' ... (or) \"not\".")
def test_any_text_is_cut_as_nltk_cuts_it(text):
    assert tokenize(text) == nltk_tokens(text)


def test_real_sentences_are_cut_as_nltk_cuts_them():
    sentences = [clean(gloss) for gloss in oracle.glosses()[1::7]]
    assert [tokenize(sentence) for sentence in sentences] == [
        nltk_tokens(sentence) for sentence in sentences
    ]


@settings(max_examples=400)
@given(st.lists(st.lists(ordinary_words(), max_size=5).map(" ".join), max_size=5).map(". ".join))
@example("a dog. a cat")
@example('mr. smith and dr. no! vs. u.s. forces ... 3 a.m. (etc.) "why?" e.g. this.')
def test_sentences_end_where_nltk_ends_them(text):
    oracle.wordnet()
    assert sentences(text) == nltk.sent_tokenize(text)
    assert tokenize(text) == nltk_tokens(text)


def test_most_real_sentences_need_no_regular_expressions():
    words = [word for gloss in oracle.glosses()[::50] for word in clean(gloss).split(" ")]
    assert sum(ORDINARY.fullmatch(word) is not None for word in words) > 0.97 * len(words)
