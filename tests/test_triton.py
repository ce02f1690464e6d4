"""The Triton kernels against the plain path: in Triton's interpreter, in a process of its own, or on a GPU."""

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from correspondence_losses import SegmentRegularizationLoss, feature_matches
from correspondence_losses.functional import SegmentStatistics, segment_statistics

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
SWITCH = "CORRESPONDENCE_LOSSES_TRITON"

needs_kernels = pytest.mark.skipif(False, reason="the interpreter runs anywhere") if INTERPRETED else pytest.mark.gpu


def test_in_the_interpreter() -> None:
    triton = pytest.importorskip("triton")
    if triton.__version__.startswith("3.2."):
        pytest.skip("the interpreter of Triton 3.2 makes tuples of cumulative sums")
    if INTERPRETED:
        pytest.skip("this is the interpreter's process")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(Path(__file__))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


POINTERS = {
    *("features", "labels", "order", "bounds", "chunks", "sums", "squares", "counts", "means", "deviations"),
    *("offsets", "slopes", "result", "present", "num_close", "weights", "a", "b", "bias"),
}


@pytest.mark.parametrize(("dtype", "capability"), [("fp32", 80), ("bf16", 90)])
def test_compiles_for_a_gpu(dtype: str, capability: int) -> None:
    triton = pytest.importorskip("triton")
    if INTERPRETED:
        pytest.skip("the interpreter compiles nothing")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from correspondence_losses.correspond import _triton_nearest
    from correspondence_losses.functional import _triton_pairs, _triton_segments

    blocks = {"BLOCK_CHANNELS": 8, "BLOCK_PIXELS": 128}
    chunks = {"BLOCK_CHANNELS": 8, "CHUNK": 1024, "SEGMENTS": 64}
    pairs = {"BLOCK_ROWS": 64, "BLOCK_COLUMNS": 64, "BLOCK_CHANNELS": 32}
    for kernel, constants, given in (
        (_triton_segments._chunks_kernel, {"CHUNK": 1024, "SEGMENTS": 64}, set()),
        (_triton_segments._sums_kernel, {"CHUNK": 1024, "BLOCK_CHANNELS": 2}, {"features"}),
        (_triton_segments._statistics_kernel, chunks, {"features"}),
        (_triton_segments._gradient_kernel, blocks, {"features", "result"}),
        (_triton_pairs._close_pairs_kernel, {"SEGMENTS": 64}, set()),
        (_triton_nearest._best_columns_kernel, pairs, set()),
    ):

        def kind(name: str, kernel: Any = kernel, given: set[str] = given) -> str:
            if name not in POINTERS:
                return "fp32" if name == "beta" else "i32"
            if name == "present":
                return "*i1"
            if name in ("order", "chunks"):
                return "*i32"
            is_index = name == "result" and kernel is _triton_nearest._best_columns_kernel
            if is_index or name in ("labels", "bounds"):
                return "*i64"
            return f"*{dtype}" if name in given else "*fp32"

        if "constants" in inspect.signature(ASTSource).parameters:  # Triton 3.2, of PyTorch 2.6
            signature = {name: kind(name) for name in kernel.arg_names if name not in constants}
            source = ASTSource(kernel, signature, constants)
        else:
            signature = {name: "constexpr" if name in constants else kind(name) for name in kernel.arg_names}
            places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
            source = ASTSource(kernel, signature, places)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        assert "ptx" in compiled.asm


def both_ways(function: Any, patch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    patch.setenv(SWITCH, "1")
    of_kernels = function()
    patch.setenv(SWITCH, "0")
    return of_kernels, function()


def statistics_and_gradient(features: Tensor, segments: Tensor, count: int) -> tuple[SegmentStatistics, Tensor]:
    leaf = features.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    statistics = segment_statistics(leaf, segments, count, ignore_index=0)
    upstream = torch.linspace(-1, 2, statistics.means.numel(), device=leaf.device).view_as(statistics.means)
    loss = (statistics.means * upstream + statistics.squared_deviations * upstream.flip(-1)).sum()
    return statistics, torch.autograd.grad(loss, leaf)[0]


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("shape", "count"), [((1, 1, 1, 1), 1), ((2, 3, 7, 11), 5), ((1, 41, 13, 9), 17), ((1, 2, 15, 17), 40)]
)
def test_segment_statistics_and_their_gradient(
    shape: tuple[int, ...], count: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    from correspondence_losses.functional import _triton_segments

    monkeypatch.setattr(_triton_segments, "_CHUNK", 32)  # so that segments have several chunks
    monkeypatch.setattr(_triton_segments, "_BLOCK_PIXELS", 16)  # and chunks several blocks
    generator = torch.Generator().manual_seed(0)
    features = (3 * torch.randn(shape, generator=generator) + 2).to(DEVICE, dtype)
    used = max(count * 2 // 3, 1)  # the segments from there on are empty
    segments = torch.randint(used, (shape[0], *shape[2:]), generator=generator).to(DEVICE)
    (got, gradient), (expected, expected_gradient) = both_ways(
        lambda: statistics_and_gradient(features, segments, count), monkeypatch
    )
    torch.testing.assert_close(got.counts, expected.counts, rtol=0, atol=0)
    torch.testing.assert_close(got.means, expected.means, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got.squared_deviations, expected.squared_deviations, rtol=1e-5, atol=1e-4)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-2 if dtype != torch.float32 else 1e-4, atol=1e-4)


@needs_kernels
def test_labels_outside_the_range_belong_to_no_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")
    # The check of labels in host memory stands before the kernels: on a GPU there is none.
    monkeypatch.setattr("correspondence_losses.functional.segments.check_labels", lambda *_: None)
    features = torch.randn(1, 2, 3, 4, device=DEVICE, requires_grad=True)
    segments = torch.tensor([[[-1, 0, 1, 2], [3, 99, -7, 1], [0, 0, 1, 2]]], device=DEVICE)
    statistics = segment_statistics(features, segments, 3)
    assert statistics.counts.tolist() == [[3, 3, 2]]
    (gradient,) = torch.autograd.grad(statistics.means.sum() + statistics.squared_deviations.sum(), features)
    outside = (segments < 0) | (segments > 2)
    assert gradient[:, :, outside[0]].eq(0).all()
    assert gradient[:, :, ~outside[0]].ne(0).all()


@needs_kernels
def test_any_layout_and_constant_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")
    segments = torch.randint(4, (2, 9, 8), generator=torch.Generator().manual_seed(0)).to(DEVICE)
    features = torch.randn(2, 5, 9, 8, device=DEVICE)
    channels_last = features.contiguous(memory_format=torch.channels_last)
    (got, gradient), (expected, expected_gradient) = (
        statistics_and_gradient(layout, segments, 4) for layout in (channels_last, features)
    )
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(gradient, expected_gradient)
    constant = segment_statistics(torch.full((2, 5, 9, 8), 5.03, device=DEVICE), segments, 4)
    torch.testing.assert_close(constant.means, torch.full_like(constant.means, 5.03), rtol=1e-6, atol=0)
    assert constant.squared_deviations.max() < 1e-9


@needs_kernels
def test_second_derivatives_take_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(1, 2, 4, 4, device=DEVICE, requires_grad=True)
    segments = torch.arange(16, device=DEVICE).view(1, 4, 4) % 3

    def curvature() -> Tensor:
        loss = SegmentRegularizationLoss(num_segments=3)(features, segments)
        (gradient,) = torch.autograd.grad(loss, features, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), features)[0]

    got, expected = both_ways(curvature, monkeypatch)
    torch.testing.assert_close(got, expected)


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1), (2, 5, 3, 7, 9, 11), (1, 41, 10, 13, 17, 6)])
def test_nearest_neighbours(sizes: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    b, d, ha, wa, hb, wb = sizes
    generator = torch.Generator().manual_seed(0)
    map_a = (torch.randn(b, d, ha, wa, generator=generator) + 10).to(DEVICE, dtype)
    map_b = (torch.randn(b, d, hb, wb, generator=generator) + 10).to(DEVICE, dtype)
    got, expected = both_ways(lambda: feature_matches(map_a, map_b, ha * wa), monkeypatch)
    torch.testing.assert_close(got.distance, expected.distance, rtol=1e-5, atol=1e-5)
    assert got.index_b.lt(hb * wb).all()
    if dtype == torch.float32:  # half precision holds equal vectors, whose scores round differently
        assert torch.equal(got.index_b, expected.index_b)


@needs_kernels
def test_of_equally_near_cells_the_first_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    # Small integers whose mean is 0: every score is exact. 160 candidates reach over several blocks of columns.
    generator = torch.Generator().manual_seed(0)
    half = torch.randint(-2, 3, (2, 3, 5, 16), generator=generator).float()
    map_b = torch.cat([half, -half], dim=2).to(DEVICE)
    map_a = torch.randint(-2, 3, (2, 3, 9, 9), generator=generator).float().to(DEVICE)
    got, expected = both_ways(lambda: feature_matches(map_a, map_b, 81), monkeypatch)
    assert torch.equal(got.index_b, expected.index_b)
    distances = (map_a.flatten(2)[:, :, :, None] - map_b.flatten(2)[:, :, None, :]).square().sum(1)
    assert torch.equal(got.index_b, distances.argmin(-1))


@needs_kernels
def test_a_nan_keeps_to_the_cells_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")
    map_a = torch.randn(1, 3, 2, 2, device=DEVICE)
    map_b = torch.full((1, 3, 2, 2), torch.nan, device=DEVICE)
    matches = feature_matches(map_a, map_b, 4)
    assert matches.index_b.eq(0).all()
    assert matches.distance.isnan().all()


@needs_kernels
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 17), (1, 5, 64)])
def test_close_pairs(shape: tuple[int, ...]) -> None:
    from correspondence_losses.functional import _triton_pairs
    from correspondence_losses.functional.segment_regularization import _close_pairs

    generator = torch.Generator().manual_seed(0)
    means = torch.randint(-6, 7, shape, generator=generator).float() / 4  # many are equal, or beta apart
    present = torch.rand(shape[0], shape[2], generator=generator) < 0.8
    got = _triton_pairs.close_pairs(means.to(DEVICE), present.to(DEVICE), 0.5)
    torch.testing.assert_close([part.cpu() for part in got], list(_close_pairs(means, present, 0.5)), rtol=0, atol=0)


@needs_kernels
def test_vmap_and_func_grad(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(3, 1, 2, 4, 5, device=DEVICE)
    segments = torch.arange(20, device=DEVICE).view(1, 4, 5) % 4
    criterion = SegmentRegularizationLoss(num_segments=4)
    gradients = torch.vmap(torch.func.grad(criterion), in_dims=(0, None))
    got, expected = both_ways(lambda: gradients(features, segments), monkeypatch)
    torch.testing.assert_close(got, expected)
