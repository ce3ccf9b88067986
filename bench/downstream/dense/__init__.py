"""Detection, segmentation and multi-label classification: one harness, and what each task adds."""
