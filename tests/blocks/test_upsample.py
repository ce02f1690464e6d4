"""Bilinear resizing by products against PyTorch's, in value and gradient."""

import pytest
import torch
from torch.nn import functional as F

from correspondence_losses.blocks._upsample import by_products, sum_upsampled, upsample


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("old", "new"),
    [((3, 4), (12, 16)), ((5, 7), (11, 13)), ((6, 9), (6, 9)), ((1, 1), (4, 3)), ((9, 8), (4, 5)), ((1, 6), (2, 6))],
)
def test_equals_interpolate(old: tuple[int, int], new: tuple[int, int], memory_format: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, *old, generator=generator, dtype=torch.float64)
    features = features.contiguous(memory_format=memory_format).requires_grad_()
    upstream = torch.randn(2, 3, *new, generator=generator, dtype=torch.float64)
    got = by_products([features], new)
    expected = F.interpolate(features, size=new, mode="bilinear", align_corners=False)
    torch.testing.assert_close(got, expected)
    (of_got,), (of_expected,) = (torch.autograd.grad(out, features, upstream) for out in (got, expected))
    torch.testing.assert_close(of_got, of_expected)
    if min(*old, *new) > 1:  # of others both formats are the same
        assert got.is_contiguous(memory_format=memory_format)


def test_weights_of_whole_factors_are_exact_in_bfloat16() -> None:
    features = torch.randn(1, 2, 5, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    got = by_products([features], (40, 48)).float()
    expected = F.interpolate(features.float(), size=(40, 48), mode="bilinear", align_corners=False)
    torch.testing.assert_close(got, expected, rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_sum_by_products_equals_the_sum_of_interpolations(memory_format: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, 2, 5), (2, 3, 4, 3), (2, 3, 9, 11)]
    maps = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    maps = [feature_map.contiguous(memory_format=memory_format).requires_grad_() for feature_map in maps]
    upstream = torch.randn(2, 3, 9, 11, generator=generator, dtype=torch.float64)
    got = by_products(maps, (9, 11))
    expected = sum(F.interpolate(m, size=(9, 11), mode="bilinear", align_corners=False) for m in maps)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(sum_upsampled(maps, (9, 11)), expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.autograd.grad(got, maps, upstream), torch.autograd.grad(expected, maps, upstream))
    assert got.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_any_device_resizes_alike(device: str) -> None:
    features = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0)).to(device)
    expected = F.interpolate(features.cpu(), size=(20, 30), mode="bilinear", align_corners=False)
    torch.testing.assert_close(upsample(features, (20, 30)).cpu(), expected, rtol=1e-4, atol=1e-5)
