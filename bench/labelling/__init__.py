"""How fast captions become labels: this project's labelling beside plain NLTK code and the released
loader's look-up, and how it scales.
"""
