"""Reads weights of a run, of the release and of timm, and converts them for timm and for the
Hugging Face hub. A file becomes a `catlip.weights.checkpoint.Checkpoint`. Every weight in it is
accounted for: it is mapped, or dropped by name with a reason, or the file is refused.
"""
