"""The labelling rules as plain NLTK code, written from their description alone: this project's
labelling is tested against it.

Only the folders of the words' data and the rules of NLTK 3.8.1 that later versions changed come
from `catlip`; the rest is what a user would first write.
"""

import functools
import re
import warnings
from typing import Any
from urllib.parse import unquote

import ftfy
import nltk
from nltk.corpus.reader.wordnet import WordNetCorpusReader, WordNetError
from nltk.tokenize.punkt import PunktTokenizer

from catlip.words import punkt_dir, tagger_dir, wordnet_dir
from catlip.words.tokens import language_rules, nltk_tokenizer

SPACES = re.compile(" +")
LONGEST_NOUN = 9  # words of the longest noun in WordNet
MARKUP = re.compile("<.*?>")


@functools.cache
def wordnet() -> WordNetCorpusReader:
    """NLTK's reader of WordNet; also points NLTK to the same files as this project's."""
    for folder in (wordnet_dir(), tagger_dir(), punkt_dir().parent):
        root = str(folder.parent.parent)
        if root not in nltk.data.path:
            nltk.data.path.insert(0, root)
    with warnings.catch_warnings(action="ignore"):  # a warning that only English is there
        return WordNetCorpusReader(nltk.data.find("corpora/wordnet"), None)


def lemmatize(word: str) -> str:
    """NLTK 3.8.1's lemmatizer, to which the paper's code is pinned. Later versions remove one
    ending of a word; it goes on with what is left until it meets a noun or no ending.
    """
    forms = wordnet()._morphy(word, "n")
    if forms or word in wordnet()._exception_map["n"]:
        return min(forms, key=len) if forms else word
    endings = WordNetCorpusReader.MORPHOLOGICAL_SUBSTITUTIONS["n"]
    left = [word]
    while left:
        left = [
            form.removesuffix(ending) + base
            for form in left
            for ending, base in endings
            if form.endswith(ending)
        ]
        if nouns := [form for form in left if "n" in wordnet()._lemma_pos_offset_map.get(form, {})]:
            return min(nouns, key=len)
    return word


def clean(caption: str) -> str:
    """Percent escapes, plus signs, tags, repeated spaces, ftfy's repairs, lower case."""
    text = MARKUP.sub("", unquote(caption).replace("+", " ")).strip("\n")
    return ftfy.fix_text(SPACES.sub(" ", text)).strip().lower()


def word_tokenize(text: str) -> list[str]:
    """`nltk.word_tokenize` of NLTK 3.8.1."""
    return [
        token for sentence in sent_tokenize(text) for token in nltk_tokenizer().tokenize(sentence)
    ]


def sent_tokenize(text: str) -> list[str]:
    """`nltk.sent_tokenize` of NLTK 3.8.1."""
    return list(_punkt().tokenize(text))


@functools.cache
def _punkt() -> PunktTokenizer:
    wordnet()  # points NLTK to the sentence model
    tokenizer = PunktTokenizer()
    tokenizer._lang_vars = language_rules()
    return tokenizer


def paper(caption: str) -> list[int]:
    """Words tagged NN*, each by its first noun sense."""
    nouns = [
        word for word, tag in nltk.pos_tag(word_tokenize(clean(caption))) if tag.startswith("NN")
    ]
    senses = [wordnet().synsets(lemmatize(noun), pos="n") for noun in nouns]
    return sorted({sense[0].offset() for sense in senses if sense})


def paper_multiword(caption: str) -> list[int]:
    """As `paper`, but a run of several words can be one noun: from the left, the longest run that
    is a noun of WordNet and ends in a word tagged NN*.
    """
    tagged = nltk.pos_tag(word_tokenize(clean(caption)))
    offsets, place = set(), 0
    while place < len(tagged):
        for end in range(min(len(tagged), place + LONGEST_NOUN), place, -1):
            words = "_".join(word for word, _ in tagged[place:end])
            senses = (
                wordnet().synsets(lemmatize(words), "n")
                if tagged[end - 1][1].startswith("NN")
                else []
            )
            if senses:
                offsets.add(senses[0].offset())
                break
        place = end
    return sorted(offsets)


def corenet(caption: str) -> list[int]:
    """Words whose first noun sense is named after them."""
    synsets = (named_synset(lemmatize(word)) for word in word_tokenize(clean(caption)))
    return sorted({synset.offset() for synset in synsets if synset})


def named_synset(lemma: str) -> Any:
    """The synset of a lemma's first noun sense if it is named after that lemma, else None."""
    try:
        synset = wordnet().synset(f"{lemma}.n.01")
    except (WordNetError, ValueError):
        return None
    return synset if synset.name() == f"{lemma}.n.01" else None
