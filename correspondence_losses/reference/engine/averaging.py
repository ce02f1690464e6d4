"""The weights that are scored: an exponential moving average of those that are trained."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    r"""An exponential moving average of a model's parameters and of its floating-point buffers.

    After step t it is :math:`\bar\theta_t = m_t \bar\theta_{t-1} + (1 - m_t) \theta_t`, with
    :math:`m_t = \min(m, t / (9 + t))`: short at first, so that the initial weights are soon forgotten.

    It swaps weights in place: what is set up for several devices is scored as it is. A second model, which
    :class:`~correspondence_losses.blocks.EMATeacher` and PyTorch's ``AveragedModel`` keep, would have to be set up too.

    Args:
        model: Whose weights are averaged.
        momentum: m, in [0, 1).

    Raises:
        ValueError: ``momentum`` is outside [0, 1).

    Source:
        Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging"; the warm-up is that of
        TensorFlow's ``ExponentialMovingAverage(num_updates=...)``.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.zeros_(model.weight)
        >>> average = WeightAverage(model, momentum=0.5)
        >>> _ = nn.init.ones_(model.weight)
        >>> average.update()
        >>> with average.applied():
        ...     round(model.weight.item(), 2)
        0.9
        >>> model.weight.item()
        1.0
    """

    def __init__(self, model: nn.Module, momentum: float) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        self.momentum = momentum
        self.num_updates = 0
        state = model.state_dict(keep_vars=True)
        self._trained = {name: tensor.detach() for name, tensor in state.items() if tensor.is_floating_point()}
        self._average = {name: tensor.clone() for name, tensor in self._trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of the step just done into the average."""
        self.num_updates += 1
        momentum = min(self.momentum, self.num_updates / (9 + self.num_updates))
        for name, average in self._average.items():
            average.lerp_(self._trained[name], 1 - momentum)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the averaged weights inside, and its own again afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self._average.items():
            trained = self._trained[name]
            kept = trained.clone()
            trained.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the average by the names of the model's own state."""
        return dict(self._average)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor], num_updates: int) -> None:
        """Go on from a saved average.

        Raises:
            ValueError: It is of another model.
        """
        shapes = {name: tensor.shape for name, tensor in self._average.items()}
        if {name: getattr(tensor, "shape", None) for name, tensor in state.items()} != shapes:
            raise ValueError("the average is of another model")
        for name, average in self._average.items():
            average.copy_(state[name])
        self.num_updates = num_updates
