"""What a run has logged, kept with its checkpoint."""

import csv
import json
from pathlib import Path

from correspondence_losses.reference.engine.history import History


def test_history_goes_back_with_its_state(tmp_path: Path) -> None:
    history = History(tmp_path, interval=2)
    history.add_training(1, {"loss": 1.0})
    state = json.loads(json.dumps(history.state_dict()))
    history.add_training(2, {"loss": 3.0})
    history.add_evaluation(2, 1, {"mean_iou": 0.5})
    history.close()
    with (tmp_path / "training.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"step": "2", "loss": "2.0"}]

    resumed = History(None, interval=2)
    resumed.load_state_dict(state)
    assert resumed.training == []
    resumed.add_training(2, {"loss": 3.0})
    assert resumed.training == history.training
