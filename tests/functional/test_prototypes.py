"""Class prototypes and their alignment, against the equations written out in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.functional import class_prototypes, prototype_alignment_loss


@st.composite
def domains(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    d, s = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    found = []
    for _ in range(2):
        b, height, width = (draw(st.integers(1, 3)) for _ in range(3))
        features = 5 * torch.randn(b, d, height, width, generator=generator, dtype=torch.float64)
        found += [features, torch.randint(s, (b, height, width), generator=generator)]
    return (*found, s, draw(st.sampled_from([None, 0])))


def literal(features, labels, classes, ignore_index):
    """Counts, and the means as lists, of the classes."""
    counts, means = [], []
    for label in range(classes):
        rows = [
            features[image, :, y, x]
            for image in range(len(features))
            for y in range(features.shape[2])
            for x in range(features.shape[3])
            if labels[image, y, x] == label != ignore_index
        ]
        counts.append(len(rows))
        means.append((sum(rows) / len(rows)).tolist() if rows else [0.0] * features.shape[1])
    return counts, means


@settings(max_examples=60, deadline=None)
@given(domains())
def test_equal_the_equations(arguments):
    features_a, labels_a, features_b, labels_b, classes, ignore_index = arguments
    of_domains = []
    for features, labels in ((features_a, labels_a), (features_b, labels_b)):
        prototypes = class_prototypes(features, labels, classes, ignore_index=ignore_index)
        counts, means = literal(features, labels, classes, ignore_index)
        assert prototypes.counts.tolist() == counts
        for row, expected in zip(prototypes.means.tolist(), means, strict=True):
            assert row == pytest.approx(expected, rel=1e-9, abs=1e-9)
        of_domains.append((counts, means))
    (counts_a, means_a), (counts_b, means_b) = of_domains
    values = [
        sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(a) if n and m else 0.0
        for n, m, a, b in zip(counts_a, counts_b, means_a, means_b, strict=True)
    ]
    both = sum(1 for n, m in zip(counts_a, counts_b, strict=True) if n and m)
    inputs = (features_a, labels_a, features_b, labels_b)
    expected = {"none": values, "sum": sum(values), "mean": sum(values) / max(both, 1)}
    for reduction, value in expected.items():
        loss = prototype_alignment_loss(*inputs, num_segments=classes, ignore_index=ignore_index, reduction=reduction)
        assert loss.tolist() == pytest.approx(value, rel=1e-9, abs=1e-9)
    torch.testing.assert_close(
        prototype_alignment_loss(*inputs, ignore_index=ignore_index),
        prototype_alignment_loss(*inputs, num_segments=classes, ignore_index=ignore_index),
    )


def test_gradients():
    features_a = torch.randn(2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    features_b = torch.randn(1, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    labels_a, labels_b = torch.randint(4, (2, 3, 3)), torch.randint(4, (1, 4, 2))
    assert torch.autograd.gradcheck(
        lambda a, b: prototype_alignment_loss(a, labels_a, b, labels_b, num_segments=4, reduction="none"),
        (features_a, features_b),
    )
    assert torch.autograd.gradcheck(lambda a: class_prototypes(a, labels_a, 4).means, features_a)


def test_no_class_in_both_is_zero():
    features = torch.randn(1, 2, 2, 2, requires_grad=True)
    zeros = torch.zeros(1, 2, 2, dtype=torch.int64)
    loss = prototype_alignment_loss(features, zeros, features, zeros + 1)
    loss.backward()
    assert loss == 0
    assert (features.grad == 0).all()
