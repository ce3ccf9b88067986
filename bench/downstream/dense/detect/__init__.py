"""Mask R-CNN, built from detectron2's own parts, on an encoder; `bench.downstream.detection`
imports it when it trains, because it needs detectron2.
"""
