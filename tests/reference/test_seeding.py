"""Orders of frames and seeds are functions of their place in the run."""

from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.reference.seeding import FrameOrder, derive_seed


@given(num_frames=st.integers(1, 50), seed=st.integers(0, 2**63), round_=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_each_pass_visits_every_frame_once(num_frames: int, seed: int, round_: int) -> None:
    order = FrameOrder(num_frames, seed, stream=1)
    visited = [order[i] for i in range(round_ * num_frames, (round_ + 1) * num_frames)]
    assert sorted(visited) == list(range(num_frames))
    assert visited == [
        FrameOrder(num_frames, seed, stream=1)[i] for i in range(round_ * num_frames, (round_ + 1) * num_frames)
    ]


def test_seeds_and_streams_draw_different_orders() -> None:
    orders = {tuple(FrameOrder(20, seed, stream)[i] for i in range(20)) for seed in range(3) for stream in (1, 2)}
    assert len(orders) == 6
    assert len({derive_seed(0, 1, i) for i in range(1000)}) == 1000
