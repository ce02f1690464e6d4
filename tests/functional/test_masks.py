"""Painting masks: the smallest mask on top, in any order and any form; and a label map as a stack of masks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from correspondence_losses.functional import paint_masks, segments_to_masks

STACKS = st.tuples(st.integers(0, 6), st.integers(1, 6), st.integers(1, 6)).flatmap(lambda s: npst.arrays(np.bool_, s))


def literal(stack: np.ndarray, min_area: int = 0) -> np.ndarray:
    """One mask after another, sorted by area, the largest first; of equal areas in the order given."""
    kept = sorted((mask for mask in stack if mask.sum() >= max(min_area, 1)), key=lambda mask: -mask.sum())
    painted = np.zeros(stack.shape[1:], int)
    for label, mask in enumerate(kept, start=1):
        painted[mask] = label
    for label, visible in enumerate(sorted(set(painted.ravel()) - {0}), start=1):
        painted[painted == visible] = label
    return painted


@given(stack=STACKS, min_area=st.integers(0, 8))
@settings(max_examples=50, deadline=None)
def test_each_pixel_belongs_to_its_smallest_mask(stack: np.ndarray, min_area: int) -> None:
    painted = paint_masks(stack, stack.shape[1:], min_area=min_area)
    assert painted.dtype == torch.int64
    areas = stack.sum((1, 2))
    kept = [i for i in range(len(stack)) if areas[i] >= max(min_area, 1)]
    if len(set(areas[kept])) == len(kept):
        np.testing.assert_array_equal(painted, literal(stack, min_area))
    painted = painted.numpy()
    for y, x in np.ndindex(*stack.shape[1:]):
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
    size = stack.shape[1:]
    np.testing.assert_array_equal(paint_masks(stack[order], size), paint_masks(stack, size))


@given(labels=npst.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 5)))
@settings(max_examples=30, deadline=None)
def test_disjoint_masks_keep_their_partition(labels: np.ndarray) -> None:
    masks = [labels == value for value in range(1, 6)]
    painted = paint_masks(masks).numpy()
    pairs = set(zip(labels.ravel().tolist(), painted.ravel().tolist(), strict=True))
    assert len(pairs) == len(set(labels.ravel().tolist()))
    assert all((label == 0) == (segment == 0) for label, segment in pairs)
    # Labels go by decreasing area.
    counts = np.bincount(painted.ravel())[1:]
    assert (np.diff(counts) <= 0).all()


def runs(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed counts, one pixel after another down the columns."""
    counts, value = [0], 0
    for pixel in mask.T.ravel().astype(int):
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def test_every_form_gives_the_same() -> None:
    stack = np.random.default_rng(0).random((4, 5, 7)) > 0.6
    expected = literal(stack)
    rle = [{"size": [5, 7], "counts": runs(mask)} for mask in stack]
    records = [{"segmentation": mask, "area": int(mask.sum()), "bbox": [0, 0, 1, 1]} for mask in stack]
    forms = {
        "stack": stack,
        "read-only stack": np.broadcast_to(stack, stack.shape),
        "flipped views": [mask[::-1, ::-1].copy()[::-1, ::-1] for mask in stack],
        "list of arrays": list(stack),
        "lists": tuple(mask.tolist() for mask in stack),
        "uint8": stack.astype(np.uint8),
        "uint16": stack.astype(np.uint16),
        "tensor": torch.from_numpy(stack),
        "list of tensors": list(torch.from_numpy(stack)),
        "SAM and SAM 2": records,
        "uncompressed RLE": rle,
        "COCO annotations": [{"segmentation": mask} for mask in rle],
        "transformers": {"masks": list(stack), "scores": torch.ones(4)},
        "transformers, tensor": {"masks": torch.from_numpy(stack)},
        "SAM 3": {"masks": torch.from_numpy(stack)[:, None], "boxes": torch.ones(4, 4)},
        "SAM 3, list": {"masks": list(torch.from_numpy(stack)[:, None])},
    }
    for name, form in forms.items():
        np.testing.assert_array_equal(paint_masks(form, (5, 7)), expected, err_msg=name)
        np.testing.assert_array_equal(paint_masks(form), expected, err_msg=name)


def test_batches_of_every_form() -> None:
    stacks = [np.random.default_rng(seed).random((count, 5, 7)) > 0.6 for seed, count in ((0, 4), (1, 2), (2, 0))]
    expected = np.stack([literal(stack) for stack in stacks])
    ragged = [
        list(stacks),
        [list(stack) for stack in stacks],
        [{"masks": torch.from_numpy(stack)} for stack in stacks],
        [[{"segmentation": mask} for mask in stack] for stack in stacks],
        [[], *[list(stack) for stack in stacks]],
    ]
    for form in ragged:
        painted = paint_masks(form, (5, 7))
        np.testing.assert_array_equal(painted[-3:], expected)
    both = torch.from_numpy(np.stack([stacks[0], ~stacks[0]]))
    np.testing.assert_array_equal(paint_masks(both), np.stack([literal(stacks[0]), literal(~stacks[0])]))


def test_more_masks_than_are_painted_at_once() -> None:
    y, x = np.mgrid[:40, :40]
    stack = np.stack([(y - 20) ** 2 + (x - 20) ** 2 <= (radius / 5) ** 2 for radius in range(5, 100)])
    np.testing.assert_array_equal(paint_masks(stack), literal(np.unique(stack, axis=0)))


@pytest.mark.parametrize(
    ("size", "counts", "area", "corner"),
    [  # as pycocotools 2.0 encodes them
        ((5, 7), "3110001020O0N31M11O", 13, None),
        ((90, 70), "lT6", 0, None),
        ((64, 48), "0PP3", 3072, (0, 0)),
        (
            (300, 200),
            "WY6g0`8:G8I6K4K6K4L4L4L4M2M4M2N2M4M2N2N2N2N2N2N2N2N2N2N2N2O0O2N2N2O0O2N2O0O2O0O2O0O2O0O2O000O2O0O2O000O2O"
            "00000O2O0000000O2O00000000000000000000000000000000000000000001N100000001N1000001N10001N101N10001N101N101N"
            "101N101N2N101N2N2N101N2N2N2N2N2N2N2N2N2N2N2N3L3N2N3L3N3L4L4L4L5J5L5J7H9Fjb;",
            15361,
            None,
        ),
    ],
)
@pytest.mark.parametrize("kind", [str, bytes])
def test_compressed_rle(kind: type, size: tuple[int, int], counts: str, area: int, corner: tuple[int, int]) -> None:
    painted = paint_masks([{"size": list(size), "counts": counts if kind is str else counts.encode()}])
    assert painted.shape == size
    assert painted.sum() == area
    if size == (300, 200):  # a disc of radius 70 around (150, 90)
        y, x = np.mgrid[:300, :200]
        np.testing.assert_array_equal(painted, (y - 150) ** 2 + (x - 90) ** 2 < 70**2)
    if size == (5, 7):
        assert runs(painted.numpy()) == [3, 1, 1, 1, 1, 1, 2, 1, 4, 1, 3, 1, 1, 4, 2, 1, 3, 2, 2]
    if corner:
        assert painted[corner] == 1


def test_no_masks_give_no_segment() -> None:
    for empty in (
        [],
        np.empty((0, 2, 3), bool),
        {"masks": []},
        [np.zeros((2, 3), bool)],
        {"masks": torch.ones(0, 2, 3) > 0},
    ):
        np.testing.assert_array_equal(paint_masks(empty, (2, 3)), np.zeros((2, 3)))
    assert paint_masks([[], []], (2, 3)).shape == (2, 2, 3)
    for empty in ([], {"masks": []}, [[], []]):
        with pytest.raises(ValueError, match="size must be given where masks"):
            paint_masks(empty)


MASK = np.ones((2, 3), bool)


@pytest.mark.parametrize(
    ("masks", "kwargs", "error", "message"),
    [
        ([MASK.T], {}, ValueError, r"masks\[0\] must have the size \(2, 3\), got shape \(3, 2\)"),
        ([MASK, MASK.T], {"size": None}, ValueError, r"masks\[1\] must have the size \(2, 3\), got shape \(3, 2\)"),
        (MASK, {}, ValueError, r"masks must be those of an image, \(n, H, W\), .* got 2 dimensions"),
        (3, {}, ValueError, "got 0 dimensions"),
        ([MASK, MASK * 1.0], {}, TypeError, r"masks\[1\] must be bool or integer, got torch.float64: threshold it"),
        (torch.rand(2, 2, 3), {}, TypeError, r"masks must be bool or integer, got torch.float32: threshold it"),
        ([MASK * 255], {}, ValueError, r"masks\[0\] must hold 0 and 1, got values from 255 to 255"),
        ([{"mask": MASK}], {}, ValueError, r"masks\[0\] as a dictionary must have 'segmentation', got keys \['mask'\]"),
        ({"scores": [1.0]}, {}, ValueError, r"got keys \['scores'\]|got 2 dimensions"),
        ([[MASK], [MASK.T]], {"size": None}, ValueError, r"masks\[1\] must have the size \(2, 3\), got shape"),
        ([{"counts": [6]}], {}, ValueError, r"masks\[0\] must have 'size' and 'counts'"),
        ([{"size": [2, 3], "counts": [5]}], {}, ValueError, r"fill its size, 2 x 3 = 6 pixels, got 5"),
        ([{"size": [2, 3], "counts": [7, -1]}], {}, ValueError, "fill its size"),
        ([["a"]], {}, (TypeError, ValueError), "masks"),
        ([MASK], {"min_area": -1}, ValueError, "min_area must be at least 0, got -1"),
    ],
)
def test_wrong_masks_are_refused(masks, kwargs: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        paint_masks(masks, **{"size": (2, 3)} | kwargs)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_compiles_whole(device: str) -> None:
    stack = torch.rand(2, 5, 6, 7, generator=torch.Generator().manual_seed(0)).to(device) > 0.6
    compiled = torch.compile(paint_masks, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(stack), paint_masks(stack))


@given(
    labels=npst.arrays(np.int64, npst.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=st.integers(0, 4)),
    ignore_index=st.sampled_from([0, 2, 4, None, 255]),
)
@settings(max_examples=40, deadline=None)
def test_a_label_map_as_a_stack(labels: np.ndarray, ignore_index: int | None) -> None:
    wanted = [label for label in range(5) if label != ignore_index]
    masks = segments_to_masks(torch.from_numpy(labels), 5, ignore_index=ignore_index)
    np.testing.assert_array_equal(masks, np.stack([labels == label for label in wanted], axis=-3))


@given(stack=STACKS.filter(len))
@settings(max_examples=30, deadline=None)
def test_the_inverse_gives_back_the_label_map(stack: np.ndarray) -> None:
    painted = paint_masks(stack)
    masks = segments_to_masks(painted)
    assert len(masks) == painted.max()
    assert (masks.sum(0) <= 1).all()
    for label, mask in enumerate(masks, start=1):
        assert torch.equal(mask, painted == label)
    labels = torch.arange(1, len(masks) + 1)[:, None, None]
    assert torch.equal((masks * labels).sum(0), painted)


def test_bounds_of_a_label_map() -> None:
    segments = torch.tensor([[0, 3]], dtype=torch.uint16)
    assert segments_to_masks(segments).shape == (3, 1, 2)
    assert segments_to_masks(segments, 10).shape == (9, 1, 2)
    with pytest.raises(ValueError, match=r"segments must lie in \[0, 3\), got values from 0 to 3"):
        segments_to_masks(segments, 3)
    compiled = torch.compile(segments_to_masks, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(segments.long(), 4), segments_to_masks(segments, 4))
    with pytest.raises(Exception, match=r"num_segments must be given under torch\.compile"):
        compiled(segments.long())
