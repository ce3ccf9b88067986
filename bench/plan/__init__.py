"""What a pre-training would cost with each method, by arithmetic: a step, many devices, and a
whole run on devices that one has or rents.
"""
