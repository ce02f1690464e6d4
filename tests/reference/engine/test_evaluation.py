"""Scores of a confusion matrix."""

import numpy as np
import pytest
import torch

from correspondence_losses.reference.engine.evaluation import SegmentationScores


def test_scores_of_a_known_confusion_matrix() -> None:
    # class 2 is nowhere in the truth but predicted once; class 3 is nowhere at all
    confusion = torch.tensor([[8, 1, 1, 0], [2, 6, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    metrics = SegmentationScores(confusion, ["background", "a", "b", "c"]).metrics()
    assert metrics["iou/background"] == pytest.approx(8 / 12)
    assert metrics["iou/a"] == pytest.approx(6 / 9)
    assert metrics["mean_iou"] == pytest.approx(np.mean([8 / 12, 6 / 9]))
    assert metrics["mean_iou_objects"] == pytest.approx(6 / 9)
    assert metrics["mean_iou_union"] == pytest.approx(np.mean([8 / 12, 6 / 9, 0]))
    assert metrics["pixel_accuracy"] == pytest.approx(14 / 18)
    assert "iou/b" not in metrics
