"""Training a classifier on an encoder: linear probes, fine-tuning, and their data sets."""
