"""How fast captions become labels: this project's labelling beside plain NLTK code and the released
loader's look-up, and how it scales.

Per core: all contenders label the same captions in turns, in one process and one thread, from text
to labels file. Then the whole command over processes, its start-up, and, when asked, its memory as
the number of captions grows.
"""
