"""Scores boxes and masks by detectron2's evaluator and COCO's own code, and keeps some of them to
draw.
"""

import contextlib
import io
from typing import Any

import numpy as np
import torch
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, inference_on_dataset
from detectron2.structures import Instances
from detectron2.utils import comm
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from torchvision.ops import box_convert, nms

from bench.downstream.dense.coco import CocoSplit
from bench.downstream.encoders.preprocess import rgb_picture
from catlip.program.pictures import encoded_image, encoded_mask, scale_of
from catlip.program.progress import progress

KINDS = {"bbox": "box", "segm": "mask"}
SUMMARY = (  # the order of COCOeval.stats
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
OVERLAP = 0.5  # IoU from which two boxes are of one object, if classes are ignored


class Scores(COCOEvaluator):
    """detectron2's evaluator of COCO, with recall too.

    Scores are fractions in [0, 1], or None where no test image has such an object. On the main
    rank, `evaluate` returns for "bbox" and for "segm" the SUMMARY by name; "ap_class_agnostic", the
    AP if the classes of objects are ignored (of boxes that overlap by OVERLAP, the best counts);
    and "ap_by_class", the list of APs.
    """

    def __init__(self, name: str):
        super().__init__(name, tasks=tuple(KINDS), use_fast_impl=False)

    def _derive_coco_results(
        self, coco_eval: COCOeval | None, iou_type: str, class_names: Any = None
    ) -> dict[str, Any]:
        # detectron2 passes None if nothing was found.
        evaluated = coco_eval or _evaluated(COCOeval(self._coco_api, COCO(), iou_type))
        # [thresholds, recalls, classes], for objects of all sizes.
        precision = evaluated.eval["precision"][:, :, :, 0, -1]
        by_class = [
            float(of_class.mean()) if (of_class > -1).all() else None
            for of_class in np.moveaxis(precision, 2, 0)
        ]
        summary = [_share(value) for value in evaluated.stats]
        return dict(zip(SUMMARY, summary, strict=True)) | {
            "ap_class_agnostic": _class_agnostic(evaluated),
            "ap_by_class": by_class,
        }


class Pictures(DatasetEvaluator):
    """Some test images with their objects, and as many predictions as there are objects, the best
    first.

    On the main rank, `evaluate` returns them as "pictures", in the order of the split. Boxes are in
    pixels of the picture as it is kept in the record.
    """

    def __init__(self, split: CocoSplit, numbers: list[int]):
        self.split = split
        self.numbers = {split.images[number]["id"]: number for number in numbers}
        self.reset()

    def reset(self) -> None:
        """Forget the predictions."""
        self.predicted: dict[int, Instances] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Keep the predictions on the images to draw."""
        for image, output in zip(inputs, outputs, strict=True):
            if image["image_id"] in self.numbers:
                self.predicted[self.numbers[image["image_id"]]] = output["instances"].to("cpu")

    def evaluate(self) -> dict[str, Any]:
        drawn: dict[int, Instances] = {}
        for of_rank in comm.gather(self.predicted):
            drawn |= of_rank
        return {"pictures": [self._picture(number, drawn[number]) for number in sorted(drawn)]}

    def _picture(self, number: int, instances: Instances) -> dict[str, Any]:
        image = self.split.images[number]
        listed = self.split.annotations[number]
        annotations = [annotation for annotation in listed if not annotation.get("iscrowd")]
        picture = rgb_picture((self.split.folder / image["file_name"]).read_bytes())
        scale = scale_of(image["height"], image["width"])
        return {
            "key": image["file_name"],
            "image": encoded_image(np.asarray(picture)),
            "width": round(image["width"] * scale),
            "height": round(image["height"] * scale),
            "truth": [self._truth(image, annotation, scale) for annotation in annotations],
            "predicted": _predicted(instances, len(annotations), scale),
        }

    def _truth(
        self, image: dict[str, Any], annotation: dict[str, Any], scale: float
    ) -> dict[str, Any]:
        left, top, width, height = annotation["bbox"]
        coco = COCO()
        coco.imgs = {image["id"]: image}
        return {
            "class": self.split.class_ids[annotation["category_id"]],
            "box": [side * scale for side in (left, top, left + width, top + height)],
            "mask": encoded_mask(coco.annToMask(annotation).astype(bool)),
        }


def score(
    model: nn.Module, loader: Any, name: str, pictures: Pictures, hidden: bool
) -> dict[str, Any]:
    """Test a model on all of a loader's images. All ranks call this.

    Args:
        name: of the test data set, as it was registered.
        hidden: show no progress bar.
    Returns: on the main rank the SUMMARY as `box_ap`, ..., `mask_ap`, ...; `box_ap_by_class` and
        `mask_ap_by_class`; `classes_without_objects`; `pictures`. On other ranks an empty dict.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # COCO's code prints
        results = inference_on_dataset(
            model,
            progress(loader, desc="test", unit="batch", disable=hidden),
            [Scores(name), pictures],
        )
    if not comm.is_main_process():
        return {}
    scores: dict[str, Any] = {}
    for kind, short in KINDS.items():
        scores |= {f"{short}_{what}": value for what, value in results[kind].items()}
    without = sum(value is None for value in scores["box_ap_by_class"])
    return scores | {"classes_without_objects": without, "pictures": results["pictures"]}


def _evaluated(asked: COCOeval) -> COCOeval:
    """Run all steps of an evaluation of COCO's code, and return it."""
    asked.evaluate()
    asked.accumulate()
    asked.summarize()
    return asked


def _class_agnostic(evaluated: COCOeval) -> float | None:
    """AP of the same predictions if all objects were of one class."""
    distinct = COCO()
    distinct.dataset = evaluated.cocoGt.dataset | {"annotations": _distinct(evaluated)}
    distinct.createIndex()
    agnostic = COCOeval(evaluated.cocoGt, distinct, evaluated.params.iouType)
    agnostic.params.useCats = 0
    return _share(_evaluated(agnostic).stats[0])


def _distinct(evaluated: COCOeval) -> list[dict[str, Any]]:
    """The predictions that are left after non-maximum suppression of the boxes on each image, over
    all classes together.
    """
    kept = []
    for image in evaluated.params.imgIds:
        own = evaluated.cocoDt.imgToAnns.get(image, [])
        boxes = [[float(side) for side in prediction["bbox"]] for prediction in own]
        corners = box_convert(torch.tensor(boxes).reshape(-1, 4), "xywh", "xyxy")
        scores = torch.tensor([float(prediction["score"]) for prediction in own])
        kept += [own[number] for number in nms(corners, scores, OVERLAP)]
    return kept


def _share(value: float) -> float | None:
    """A score of COCO's code; None for its -1, which means that there is nothing to find."""
    return None if value < 0 else float(value)


def _predicted(instances: Instances, count: int, scale: float) -> list[dict[str, Any]]:
    best = instances[instances.scores.argsort(descending=True, stable=True)[:count]]
    return [
        {
            "class": int(best.pred_classes[number]),
            "score": float(best.scores[number]),
            "box": (best.pred_boxes.tensor[number] * scale).tolist(),
            "mask": encoded_mask(best.pred_masks[number].numpy().astype(bool)),
        }
        for number in range(len(best))
    ]
