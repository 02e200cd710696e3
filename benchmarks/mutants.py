"""Changes the package's code in small ways and counts the changes that no test notices.

`KERAS_BACKEND=torch python benchmarks/mutants.py --count 60 moda_keras/slicing` draws 60 mutants
evenly from the files of that folder and runs the tests that belong to each, until one fails. The
changes are made in a temporary copy of the package; nothing else is written.
"""

import argparse
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from mutations import mutants_of

ROOT = Path(__file__).resolve().parents[1]
# What the path of a file starts with, and the tests that belong to it. A file of tests that has its
# name comes first, then they are in this order.
TESTS = {
    "moda_keras/slicing/rules": [
        "tests/slicing/test_rules.py",
        "tests/slicing",
        "tests/graph/test_inlining_sizes.py",
    ],
    "moda_keras/slicing": ["tests/slicing/test_slicer.py", "tests/slicing"],
    "moda_keras/ops": ["tests/ops", "tests/training/test_moda_loss.py"],
    "moda_keras/observing": [
        "tests/observing",
        "tests/methods/test_moda.py",
        "tests/methods/test_multi_label.py",
        "tests/ops/test_masked_activations.py",
    ],
    "moda_keras/training": ["tests/training/test_moda_loss.py", "tests/training"],
}
# Tests that start processes take long.
LEFT_OUT = "process or pool_ or loads_without_this_library or import_loads_no_library"


def drawn(paths, count, seed):
    """`count` mutants: as many of each file, and in a file as many of each operator."""
    queues = []
    for path in paths:
        every = mutants_of(path)
        random.Random(f"{seed} {path}").shuffle(every)
        seen = Counter()
        ranked = []
        for mutant in every:
            seen[mutant[0]] += 1
            ranked.append((seen[mutant[0]], (path, *mutant)))
        queues.append([mutant for _, mutant in sorted(ranked, key=lambda each: each[0])])
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*queues))
    return list(itertools.islice(filter(None, rounds), count))


def tests_of(path):
    """The files of tests that belong to a file of the package, in the order in which they run."""
    listed = next(tests for start, tests in TESTS.items() if str(path).startswith(start))
    files = [
        str(file)
        for each in map(Path, listed)
        for file in ([each] if each.suffix else sorted(each.rglob("test_*.py")))
    ]
    return sorted(dict.fromkeys(files), key=lambda file: not file.endswith(f"test_{path.stem}.py"))


class FirstFailure:
    """A pytest plugin that keeps the name of the first test, or file of tests, that fails."""

    name = ""

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.name = self.name or report.nodeid

    pytest_collectreport = pytest_runtest_logreport


def test_in_this_process(tests, verdict, left_out):
    """Runs tests and writes what failed; never returns."""
    import pytest

    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    failure = FirstFailure()
    options = ["-x", "-q", "-p", "no:warnings", "-p", "no:cacheprovider", "-k"]
    code = pytest.main([*tests, *options, f"not ({left_out})"], plugins=[failure])
    verdict.write_text(failure.name or ("" if code == 0 else f"pytest ended with {code}"))
    os._exit(0)


def first_failure(folder, tests, limit, left_out=LEFT_OUT):
    """The first test that fails with the package in `folder`; "" if none does."""
    verdict = folder / "verdict"
    verdict.write_text("the process died")
    child = os.fork()
    if child == 0:
        test_in_this_process(tests, verdict, left_out)
    end = time.monotonic() + limit
    try:
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return "time limit"
            time.sleep(0.05)
    except BaseException:  # this process is stopped, say
        os.killpg(child, signal.SIGKILL)
        raise
    return verdict.read_text()


def try_all(mutants, limit):
    """Prints a row for each mutant, and how many survived."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutants") as folder:
        folder = Path(folder)
        shutil.copytree(ROOT / "moda_keras", folder / "moda_keras")
        sys.path.insert(0, str(folder))
        os.environ["PYTHONPATH"] = str(folder)
        # No mutant may be found compiled: of two files, sizes and seconds may be the same.
        sys.dont_write_bytecode = True
        import keras  # noqa: F401  (Once, for all mutants.)

        for path, operator, line, old, new, text in mutants:
            start = time.monotonic()
            (folder / path).write_bytes(text)
            failure = first_failure(folder, tests_of(path), limit)
            shutil.copy2(ROOT / path, folder / path)
            survivors += not failure
            change = " ".join(f"{old} -> {new}".split())
            cells = f"{path}:{line}", operator, change, failure or "SURVIVED"
            print(*cells, f"{time.monotonic() - start:.0f} s", sep=" | ", flush=True)
    print(f"{len(mutants)} mutants, {survivors} survived")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", help="files and folders of the package")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", default="", help="text that a mutant's `file:line | operator` has"
    )
    parser.add_argument("--tests", nargs="*", help="instead of those that belong to the files")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one mutant")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    if arguments.tests:
        TESTS.update(dict.fromkeys(TESTS, arguments.tests))
    files = [file for each in map(Path, arguments.paths) for file in [each, *each.rglob("*.py")]]
    files = sorted({file for file in files if file.suffix == ".py"})
    mutants = drawn(files, arguments.count, arguments.seed)
    mutants = [each for each in mutants if arguments.only in f"{each[0]}:{each[2]} | {each[1]}"]
    try_all(mutants, arguments.limit)


if __name__ == "__main__":
    main()
