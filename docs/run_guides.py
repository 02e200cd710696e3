"""Runs the code of the guides, block by block, and keeps their last picture for the pages.

    KERAS_BACKEND=torch python docs/run_guides.py                  all of them, with their seconds
    KERAS_BACKEND=torch python docs/run_guides.py train rule       some
    KERAS_BACKEND=torch python docs/run_guides.py --pictures       and writes docs/images/guides
    python docs/run_guides.py --notebooks build/notebooks          as notebooks (needs jupytext)

Each guide runs in an empty folder and in a process of its own.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DOCS = Path(__file__).parent.resolve()
GUIDES = DOCS / "guides"
PICTURES = DOCS / "images" / "guides"


def code_of(page: Path) -> str:
    """The Python blocks of a page, one after the other."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.S | re.M))


def run(name: str, keeps_picture: bool) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{name}.py").write_text(code_of(GUIDES / f"{name}.md"), "utf-8")
        environment = {**os.environ, "MPLBACKEND": "Agg"}
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(DOCS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, f"{name}.py"], cwd=folder, env=environment, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        print(f"== {name}: {time.perf_counter() - start:.0f} s, exit {done.returncode}")
        print(done.stdout, done.stderr if done.returncode else "", flush=True)
        pictures = sorted(Path(folder).glob("*.png"))
        if done.returncode == 0 and not pictures:
            print(f"{name} draws no picture")
            return False
        if done.returncode == 0 and keeps_picture:
            PICTURES.mkdir(parents=True, exist_ok=True)
            shutil.copy(pictures[-1], PICTURES / f"{name}.png")
    return done.returncode == 0


def write_notebooks(names: list[str], folder: Path) -> None:
    import jupytext

    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        notebook = jupytext.read(GUIDES / f"{name}.md")
        jupytext.write(notebook, folder / f"{name}.ipynb")
        print(folder / f"{name}.ipynb")


def main() -> None:
    known = sorted(path.stem for path in GUIDES.glob("*.md"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--pictures", action="store_true", help="write docs/images/guides")
    parser.add_argument("--notebooks", type=Path, metavar="FOLDER", help="write notebooks instead")
    arguments = parser.parse_args()
    names = arguments.names or known
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"unknown guides {unknown}; there are {known}")
    if arguments.notebooks:
        write_notebooks(names, arguments.notebooks)
        return
    failed = [name for name in names if not run(name, arguments.pictures)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
