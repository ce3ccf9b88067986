"""superclass: trial 10 of 16, by its accuracy on folder-validation:data/fashion-types."""

tuned = {
    "recipe": "photos",
    "max_lr": 0.0014661143202461344,
    "min_lr": 1.4661143202461344e-05,
    "warmup_iterations": 702,
    "weight_decay": 0.07101321775135173,
    "micro_batch": 64,
    "crop_scale": (0.6724127054214478, 1.0),
    "epochs": 50.0,
}
