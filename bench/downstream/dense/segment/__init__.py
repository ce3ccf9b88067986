"""The parts of segmentation that need mmsegmentation."""
