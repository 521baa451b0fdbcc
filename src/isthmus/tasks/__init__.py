"""One file per task: data, score, best answer and chance answer."""
