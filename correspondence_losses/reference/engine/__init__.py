"""How to train anything: loop, schedule, checkpoint, history and scores, and nothing of what is trained."""
