"""superclass: trial 0 of 16, by its accuracy on folder-validation:data/fashion-types."""

tuned = {
    "recipe": "photos",
    "max_lr": 0.0012973214234259592,
    "min_lr": 1.2973214234259592e-05,
    "warmup_iterations": 382,
    "weight_decay": 0.1015501313225966,
    "crop_scale": (0.8736550927162172, 1.0),
    "epochs": 16.0,
}
