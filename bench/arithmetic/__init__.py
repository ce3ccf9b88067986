"""What a training step costs by arithmetic: `flops`, `memory`, `exchanges` between ranks, and
`devices`, what datasheets say of GPUs and links.
"""
