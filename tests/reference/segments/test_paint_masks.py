"""Painting masks: the smallest mask on top, in any order and any form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from correspondence_losses.reference.segments import paint_masks

STACKS = st.tuples(st.integers(0, 6), st.integers(1, 6), st.integers(1, 6)).flatmap(lambda s: npst.arrays(np.bool_, s))


@given(stack=STACKS, min_area=st.integers(0, 8))
@settings(max_examples=50, deadline=None)
def test_each_pixel_belongs_to_its_smallest_mask(stack: np.ndarray, min_area: int) -> None:
    size = stack.shape[1:]
    painted = paint_masks(stack, size, min_area=min_area)
    assert painted.dtype == np.uint16
    areas = stack.sum((1, 2))
    kept = [i for i in range(len(stack)) if areas[i] >= max(min_area, 1)]
    for y, x in np.ndindex(*size):
        covering = [areas[i] for i in kept if stack[i, y, x]]
        assert (painted[y, x] == 0) == (not covering)
        if covering:
            # The segment is what is left of a mask as small as the smallest one here.
            segment = painted == painted[y, x]
            owners = [i for i in kept if areas[i] == min(covering) and (stack[i] | ~segment).all()]
            assert owners
    assert set(np.unique(painted)) - {0} == set(range(1, painted.max() + 1))


@given(stack=STACKS, data=st.data())
@settings(max_examples=30, deadline=None)
def test_order_of_masks_changes_nothing(stack: np.ndarray, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(stack))))
    np.testing.assert_array_equal(paint_masks(stack[order], stack.shape[1:]), paint_masks(stack, stack.shape[1:]))


@given(labels=npst.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 5)))
@settings(max_examples=30, deadline=None)
def test_disjoint_masks_keep_their_partition(labels: np.ndarray) -> None:
    masks = [labels == value for value in range(1, 6)]
    painted = paint_masks(masks, labels.shape)
    pairs = set(zip(labels.ravel().tolist(), painted.ravel().tolist(), strict=True))
    assert len(pairs) == len(set(labels.ravel().tolist()))
    assert all((label == 0) == (segment == 0) for label, segment in pairs)
    # Labels go by decreasing area.
    counts = np.bincount(painted.ravel())[1:]
    assert (np.diff(counts) <= 0).all()


def test_every_form_gives_the_same() -> None:
    stack = np.random.default_rng(0).random((4, 5, 7)) > 0.6
    expected = paint_masks(stack, (5, 7))
    records = [{"segmentation": mask, "area": int(mask.sum()), "bbox": [0, 0, 1, 1]} for mask in stack]
    forms = [
        list(stack),
        tuple(mask.tolist() for mask in stack),
        stack.astype(np.uint8),
        torch.from_numpy(stack),
        list(torch.from_numpy(stack)),
        records,
        {"masks": list(stack), "scores": torch.ones(4)},
        {"masks": torch.from_numpy(stack)},
    ]
    for form in forms:
        np.testing.assert_array_equal(paint_masks(form, (5, 7)), expected)


def test_no_masks_give_no_segment() -> None:
    for empty in ([], np.empty((0, 2, 3), bool), {"masks": []}, [np.zeros((2, 3), bool)]):
        np.testing.assert_array_equal(paint_masks(empty, (2, 3)), np.zeros((2, 3)))


MASK = np.ones((2, 3), bool)


@pytest.mark.parametrize(
    ("masks", "kwargs", "error", "message"),
    [
        ([MASK.T], {}, ValueError, r"masks\[0\] must have shape \(2, 3\), got \(3, 2\)"),
        (MASK, {}, ValueError, r"masks\[0\] must have shape \(2, 3\), got \(3,\)"),
        ([MASK, MASK * 1.0], {}, TypeError, r"masks\[1\] must be boolean or integer, got float64"),
        ([MASK * 255], {}, ValueError, r"masks\[0\] must hold 0 and 1, got values from 255 to 255"),
        ([{"mask": MASK}], {}, ValueError, r"must have 'segmentation', got keys \['mask'\]"),
        ({"scores": [1.0]}, {}, ValueError, r"must have 'masks', got keys \['scores'\]"),
        ([MASK], {"min_area": -1}, ValueError, "min_area must be at least 0, got -1"),
    ],
)
def test_wrong_masks_are_refused(masks, kwargs: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        paint_masks(masks, (2, 3), **kwargs)


def test_too_many_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="masks must be at most 65535, got 65536"):
        paint_masks(np.ones((65536, 1, 1), bool), (1, 1))
