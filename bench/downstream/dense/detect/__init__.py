"""Mask R-CNN of detectron2's own parts on an encoder; `bench.downstream.detection` imports it, when
detectron2 is there.
"""
