"""catlip_softmax: trial 13 of 16, by its accuracy on folder-validation:data/fashion-types."""

tuned = {
    "recipe": "photos",
    "max_lr": 0.0030477090937925514,
    "min_lr": 3.0477090937925514e-05,
    "warmup_iterations": 588,
    "weight_decay": 0.05664250883181831,
    "crop_scale": (0.7224941253662109, 1.0),
    "epochs": 16.0,
}
