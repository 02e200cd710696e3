"""Results as rows of a CSV file, added run by run."""

import csv
from pathlib import Path


def append_row(path: str | Path, row: dict) -> None:
    """Adds a row; a new file gets its header."""
    path = Path(path)
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
