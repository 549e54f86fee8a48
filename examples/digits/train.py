"""Train a small network to read handwritten digits, and write down how well it does.

The 1797 digits come with scikit-learn, so that nothing is downloaded.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="default", help="the result goes to runs/NAME.json")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--hidden", type=int, default=64, help="units of the hidden layer")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    given = options()
    # Without `force_terminal` rich asks the terminal: plain lines in a pipe or a log.
    console = Console(highlight=False)
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images / 16.0, labels, test_size=0.25, random_state=given.seed)
    model = MLPClassifier(hidden_layer_sizes=(given.hidden,), learning_rate_init=0.01, random_state=given.seed)
    begun = time.perf_counter()
    accuracy = 0.0
    for epoch in range(1, given.epochs + 1):
        model.partial_fit(train_x, train_y, classes=np.unique(labels))
        accuracy = float(model.score(test_x, test_y))
        console.print(f"{given.name}: epoch {epoch:2}  loss {model.loss_:.3f}  accuracy {accuracy:.3f}")
    result = {
        "name": given.name,
        "accuracy": round(accuracy, 4),
        "seconds": round(time.perf_counter() - begun, 2),
        "uid": os.getuid(),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    }
    folder = Path("runs")
    folder.mkdir(exist_ok=True)
    (folder / f"{given.name}.json").write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
