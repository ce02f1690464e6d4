import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from correspondence_losses.functional import masked_l2_loss
from correspondence_losses.losses import MaskedL2Loss


@settings(max_examples=30, deadline=None)
@example(26, 1, 11, 1, 10)  # a centre between two pixels
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
def test_each_cell_is_masked_by_the_label_at_its_centre(height, width, rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (2, height, width), generator=generator)
    a, b = (torch.randn(2, 3, rows, columns, generator=generator) for _ in range(2))
    mask = torch.zeros(2, rows, columns, dtype=torch.bool)
    for row in range(rows):
        for column in range(columns):
            pixel_row = (2 * row + 1) * height // (2 * rows)
            pixel_column = (2 * column + 1) * width // (2 * columns)
            mask[:, row, column] = labels[:, pixel_row, pixel_column] != 0
    torch.testing.assert_close(MaskedL2Loss()(a, b, labels), masked_l2_loss(a, b, mask))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("element_reduction", ["mean", "sum"])
def test_levels_add_up(element_reduction, reduction):
    criterion = MaskedL2Loss(element_reduction=element_reduction, reduction=reduction)
    a = [torch.randn(2, 4, 60 // s, 80 // s) for s in (16, 8, 4)]
    b = [torch.randn_like(level) for level in a]
    labels = torch.randint(0, 3, (2, 60, 80))
    levels = criterion.terms(a, b, labels).levels
    torch.testing.assert_close(criterion(a, b, labels), torch.stack(levels).sum(0))
    for index, level in enumerate(levels):
        torch.testing.assert_close(criterion(a[index], b[index], labels), level)


def test_another_background_label():
    a, b = torch.randn(1, 2, 3, 3), torch.randn(1, 2, 3, 3)
    labels = torch.full((1, 3, 3), 255, dtype=torch.uint8)
    assert MaskedL2Loss(ignore_index=255)(a, b, labels) == 0
    assert MaskedL2Loss()(a, b, labels) > 0


def test_half_precision_and_single_graph():
    criterion = MaskedL2Loss()
    a, b = torch.randn(2, 4, 5, 5).half(), torch.randn(2, 4, 5, 5).half()
    labels = torch.randint(0, 3, (2, 40, 40))
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    assert criterion(a, b, labels).dtype == torch.float32
    torch.testing.assert_close(compiled([a], [b], labels), criterion(a, b, labels))
