"""Segmentation through mmsegmentation: what needs it installed."""
