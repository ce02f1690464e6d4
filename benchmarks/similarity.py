"""Kernel alignment and SIGReg beside lightly's, and Gram anchoring beside its two matrices."""

import torch
from lightly.loss import PatchKernelAlignmentLoss as PeerKernelAlignmentLoss
from lightly.loss.lejepa_loss import SIGReg as PeerSIGReg
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.workload import Case, Floor, Workload, gradient_step, products, seeded
from correspondence_losses import GramLoss, KernelAlignmentLoss, SIGRegLoss


def kernel_alignment(batch: int, k: int, d: int) -> Case:
    """Student and teacher of k patches."""
    student, teacher = _student_and_teacher(batch, k, d)
    ours, peer = KernelAlignmentLoss(), PeerKernelAlignmentLoss()
    return Case(
        gradient_step(lambda: ours(student, teacher), [student]),
        gradient_step(lambda: peer(student, teacher), [student]),
        lambda: _products_of_channels(student, teacher),
    )


def gram(batch: int, k: int, d: int) -> Case:
    """Student and teacher of k patches."""
    student, teacher = _student_and_teacher(batch, k, d)
    ours = GramLoss()

    def both_matrices() -> Tensor:
        similarities = [vectors @ vectors.mT for vectors in (normalize(student, dim=-1), normalize(teacher, dim=-1))]
        return torch.nn.functional.mse_loss(*similarities)

    return Case(
        gradient_step(lambda: ours(student, teacher), [student]),
        gradient_step(both_matrices, [student]),
        lambda: _products_of_channels(student, teacher),
    )


def sigreg(n: int, d: int, slices: int) -> Case:
    """One set of n vectors of dimension d."""
    z = torch.randn(n, d, generator=seeded(), requires_grad=True)
    ours = SIGRegLoss(num_slices=slices)
    peer = PeerSIGReg(knots=9, t_max=5.0, num_vectors=slices)

    def with_seed(loss: SIGRegLoss | PeerSIGReg) -> Tensor:
        torch.manual_seed(0)
        value: Tensor = loss(z)
        return value

    directions = torch.randn(d, slices)
    return Case(
        gradient_step(lambda: with_seed(ours), [z]),
        gradient_step(lambda: with_seed(peer), [z]),
        lambda: products((z, directions), (z @ directions, directions.mT)),
    )


def _student_and_teacher(batch: int, k: int, d: int) -> tuple[Tensor, Tensor]:
    generator = seeded()
    student = torch.randn(batch, k, d, generator=generator, requires_grad=True)
    return student, torch.randn(batch, k, d, generator=generator)


def _products_of_channels(student: Tensor, teacher: Tensor) -> Floor:
    """The d x d products of either and of both, and two more for the student's gradient."""
    own, mixed = student.mT @ student, teacher.mT @ student
    return products(
        (student.mT, student), (teacher.mT, student), (teacher.mT, teacher), (student, own), (teacher, mixed)
    )


_PATCHES = {
    "sizes": {"batch": 4, "k": 4096, "d": 384},
    "quick": {"batch": 2, "k": 64, "d": 16},
    "floor": "five products of channels",
}

WORKLOADS = [
    Workload(
        name="kernel-alignment",
        title="kernel alignment, batch {batch}, {k} patches, {d} channels",
        peer="lightly.loss.PatchKernelAlignmentLoss",
        build=kernel_alignment,
        **_PATCHES,
    ),
    Workload(
        name="gram",
        title="Gram anchoring, batch {batch}, {k} patches, {d} channels",
        peer="both matrices of similarities",
        build=gram,
        **_PATCHES,
    ),
    Workload(
        name="sigreg",
        title="SIGReg, n = {n}, d = {d}, {slices} directions",
        peer="lightly.loss.lejepa_loss.SIGReg",
        build=sigreg,
        sizes={"n": 2048, "d": 512, "slices": 1024},
        quick={"n": 32, "d": 8, "slices": 16},
        floor="two products",
        note="lightly's points are those of ours above 0 (knots=9, t_max=5); both draw the same directions",
    ),
]
