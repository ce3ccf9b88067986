"""How to train, as data: the recipes of pre-training (Table 6) and of transfer (Table 7), and
presets that fit a laptop.
"""
