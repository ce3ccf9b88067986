"""How to train, as data: the recipes of pre-training (Table 6) and of transfer (Table 7), and
presets that fit a laptop.

A recipe is an instance of a frozen dataclass; any of its fields can be overridden on the command
line. `python -m catlip.recipes` writes them as the record that the report compares with the paper.
"""
