"""Testing a segmentor by the two protocols that are in use, with mmsegmentation's counts of pixels.

fixed   the picture is resized to a square, and the logits to the size of the picture (the release)
slide   the picture's shorter side is resized, and a square window moves over it in steps of two
        thirds of its side (usual in the field)
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmengine import ConfigDict, dist
from mmengine.evaluator import Evaluator
from mmseg.evaluation import IoUMetric
from numpy.typing import NDArray
from torch import Tensor

from bench.downstream.dense.ade20k import AdeSplit
from bench.downstream.dense.segment.data import validation_loader, validation_pipeline
from catlip.data.decode import open_picture, rgb
from catlip.program.pictures import chosen, encoded_image, encoded_map
from catlip.program.progress import progress
from catlip.training.distributed import of_all_ranks

Protocol = Literal["fixed", "slide"]
PROTOCOLS: tuple[Protocol, ...] = ("fixed", "slide")


class SceneIoU(IoUMetric):
    """mmsegmentation's IoU, as fractions in [0, 1] that are not rounded, and with the IoU of each
    class.
    """

    def compute_metrics(self, results: list[tuple[Tensor, ...]]) -> dict[str, Any]:
        """The metrics of all scenes.

        Returns: `miou`; `accuracy` of pixels; `class_accuracy`, its mean over classes; `iou` by
            class, None for a class that is neither there nor predicted.
        """
        areas = (torch.stack(parts).double().sum(dim=0) for parts in zip(*results, strict=True))
        metrics = self.total_area_to_metrics(*areas)
        return {
            "miou": float(np.nanmean(metrics["IoU"])),
            "accuracy": float(metrics["aAcc"]),
            "class_accuracy": float(np.nanmean(metrics["Acc"])),
            "iou": [None if np.isnan(value) else float(value) for value in metrics["IoU"]],
        }


def score(
    model: Any, split: AdeSplit, side: int, draw: int, num_workers: int, hidden: bool
) -> dict[str, Any]:
    """Test by both protocols; all ranks call this, each for its part, and all get the same.

    Args:
        model: a segmentor of mmsegmentation; its `test_cfg` is set.
        side: pixels of the square, of the shorter side, and of the window.
        draw: how many scenes to draw.
        hidden: no progress bar.
    Returns: what SceneIoU returns, as NAME_fixed and NAME_slide, and the "pictures" of `fixed`.
    """
    model.eval()
    results: dict[str, Any] = {}
    for protocol in PROTOCOLS:
        model.test_cfg = protocol_config(protocol, side)
        pipeline = validation_pipeline(side, keep_ratio=protocol == "slide")
        loader = validation_loader(split, pipeline, num_workers)
        metric = SceneIoU(collect_device="gpu" if dist.get_world_size() > 1 else "cpu")
        pictures = Pictures(split, draw if protocol == "fixed" else 0)
        measured = evaluate(
            model,
            progress(loader, desc=protocol, unit="image", disable=hidden),
            len(split.scenes),
            metric=metric,
            pictures=pictures,
        )
        results |= {f"{name}_{protocol}": value for name, value in measured.items()}
        if protocol == "fixed":
            results["pictures"] = pictures.gathered()
    return results


def protocol_config(protocol: Protocol, side: int) -> ConfigDict:
    """The `test_cfg` of mmsegmentation's segmentor for a protocol."""
    if protocol == "fixed":
        return ConfigDict(mode="whole")
    stride = max(1, 2 * side // 3)  # 341 at 512
    return ConfigDict(mode="slide", crop_size=(side, side), stride=(stride, stride))


@torch.inference_mode()
def evaluate(
    model: Any, batches: Iterable[Any], total: int, metric: IoUMetric, pictures: "Pictures"
) -> dict[str, Any]:
    """What the metric gives over `total` scenes, of which `batches` are this rank's."""
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = {"classes": pictures.split.names}
    for batch in batches:
        predicted = model.test_step(batch)
        evaluator.process(data_samples=predicted, data_batch=batch)
        for sample in predicted:
            pictures.add(sample)
    measured: dict[str, Any] = evaluator.evaluate(total)
    return measured


class Pictures:
    """Images and label maps of `wanted` of the scenes, evenly spread, to be drawn."""

    def __init__(self, split: AdeSplit, wanted: int):
        self.split = split
        numbers = chosen(len(split.scenes), wanted)
        self.keys = [split.scenes[number].image.stem for number in numbers]
        self.kept: dict[str, dict[str, str]] = {}

    def add(self, sample: Any) -> None:
        """Keep a tested SegDataSample, if it is one of the wanted scenes."""
        path = Path(sample.img_path)
        if path.stem in self.keys:
            self.kept[path.stem] = {
                "key": path.stem,
                "image": encoded_image(np.asarray(rgb(open_picture(path.read_bytes())))),
                "truth": encoded_map(_ids(sample.gt_sem_seg)),
                "predicted": encoded_map(_ids(sample.pred_sem_seg)),
            }

    def gathered(self) -> list[dict[str, str]]:
        """The pictures of all ranks: key, image, and two maps of class ids, "truth" (255 is
        ignored) and "predicted".
        """
        everywhere: dict[str, dict[str, str]] = {}
        for of_rank in of_all_ranks(self.kept):
            everywhere |= of_rank
        return [everywhere[key] for key in self.keys]


def _ids(labels: Any) -> NDArray[np.uint8]:
    ids: NDArray[np.uint8] = labels.data[0].cpu().numpy().astype(np.uint8)
    return ids
