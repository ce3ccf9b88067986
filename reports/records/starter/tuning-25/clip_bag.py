"""clip_bag: trial 9 of 16, by its accuracy on starter-validation:data/starter."""

tuned = {
    "recipe": "starter",
    "max_lr": 0.006138653788123437,
    "min_lr": 6.138653788123437e-05,
    "warmup_iterations": 49,
    "weight_decay": 0.018444282356776705,
    "micro_batch": 128,
    "crop_scale": (0.8354796051979065, 1.0),
    "temperature": 0.10526949119391425,
}
