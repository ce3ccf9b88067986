"""clip_bag: trial 10 of 16, by its accuracy on folder-validation:data/cifar10."""

tuned = {
    "recipe": "photos",
    "max_lr": 0.0014661143202461344,
    "min_lr": 1.4661143202461344e-05,
    "weight_decay": 0.07101321775135173,
    "crop_scale": (0.6724127054214478, 1.0),
    "temperature": 0.15298526466058124,
    "epochs": 16.0,
}
