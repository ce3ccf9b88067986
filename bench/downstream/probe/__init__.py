"""How good an encoder is at classification: linear probes, fine-tuning, and readouts without
training.

`bench.downstream.linear_probe`, `finetune` and `readouts` are the programs. `sweep` trains a
classifier for each fraction of the data, start and seed; `fit` trains one; `result`, `worth`,
`few_labels` and `transfer_gain` are what the page shows of the records.
"""
