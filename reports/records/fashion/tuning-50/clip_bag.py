"""clip_bag: trial 13 of 16, by its accuracy on folder-validation:data/fashion-types."""

tuned = {
    "recipe": "photos",
    "max_lr": 0.0030477090937925514,
    "min_lr": 3.0477090937925514e-05,
    "warmup_iterations": 1837,
    "weight_decay": 0.05664250883181831,
    "micro_batch": 32,
    "crop_scale": (0.7224941253662109, 1.0),
    "temperature": 0.06524359727056818,
    "epochs": 50.0,
}
