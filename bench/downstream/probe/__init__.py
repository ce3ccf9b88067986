"""How good an encoder is at classification: probes, fine-tuning, and readouts without training."""
