"""The two labelling rules as plain NLTK code, written from their description, and real sentences to compare on."""

import functools
import re
import warnings
from typing import Any
from urllib.parse import unquote

import ftfy
import nltk
from nltk.corpus.reader.wordnet import WordNetCorpusReader, WordNetError

from catlip.words import tagger_dir, wordnet_dir


@functools.cache
def wordnet() -> WordNetCorpusReader:
    """NLTK's reader of the same files."""
    for folder in (wordnet_dir(), tagger_dir()):
        root = str(folder.parent.parent)
        if root not in nltk.data.path:
            nltk.data.path.insert(0, root)
    with warnings.catch_warnings(action="ignore"):  # that only English is there
        return WordNetCorpusReader(nltk.data.find("corpora/wordnet"), None)


@functools.cache
def lemmatize(word: str) -> str:
    """NLTK's WordNetLemmatizer().lemmatize, on this reader."""
    forms = wordnet()._morphy(word, "n")
    return min(forms, key=len) if forms else word


def clean(caption: str) -> str:
    text = unquote(caption).replace("+", " ")
    text = re.sub("<.*?>", "", text).strip("\n")
    return ftfy.fix_text(re.sub(" +", " ", text)).strip().lower()


def tokenize(caption: str) -> list[str]:
    return nltk.word_tokenize(clean(caption), preserve_line=True)


def paper(caption: str) -> list[int]:
    """Words tagged NN*, each by its first noun sense."""
    wordnet()
    nouns = [word for word, tag in nltk.pos_tag(tokenize(caption)) if tag.startswith("NN")]
    senses = [wordnet().synsets(lemmatize(noun), pos="n") for noun in nouns]
    return sorted({sense[0].offset() for sense in senses if sense})


def corenet(caption: str) -> list[int]:
    """Words whose first noun sense is named after them; the released code computes tags too, and ignores them."""
    found = (named_synset(lemmatize(word)) for word in tokenize(caption))
    return sorted({synset.offset() for synset in found if synset})


@functools.cache
def named_synset(lemma: str) -> Any:
    try:
        synset = wordnet().synset(f"{lemma}.n.01")
    except (WordNetError, ValueError):
        return None
    return synset if synset.name() == f"{lemma}.n.01" else None


@functools.cache
def glosses() -> list[str]:
    """The distinct definitions and examples of WordNet's noun file: about 107,000 real sentences and phrases, as written."""
    lines = (wordnet_dir() / "data.noun").read_text(encoding="ascii").splitlines()
    found = {part.strip() for line in lines if not line.startswith(" ") for part in line.split("|", 1)[1].split(";")}
    return sorted(found - {""})
