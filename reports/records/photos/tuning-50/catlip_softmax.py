"""catlip_softmax: trial 15 of 16, by its accuracy on folder-validation:data/cifar10."""

tuned = {
    "recipe": "photos",
    "max_lr": 0.0010119971369802988,
    "min_lr": 1.0119971369802988e-05,
    "warmup_iterations": 1789,
    "weight_decay": 0.01554460961191775,
    "crop_scale": (0.36981009095907214, 1.0),
    "epochs": 50.0,
}
