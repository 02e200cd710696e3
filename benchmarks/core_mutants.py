"""Breaks the core, which is in C++, in the ways listed here, and says which test notices.

`KERAS_BACKEND=torch python benchmarks/core_mutants.py` builds each in a temporary folder, runs the
core's own tests with all instruction sets and, if these pass, `tests/ops`.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mutants import ROOT, first_failure

# The file, what is replaced (once in the file), and what replaces it.
MUTANTS = [
    ("arguments.cpp", "batch->classes <= std::numeric_limits<int32_t>::max() &&", ""),
    ("arguments.cpp", "static_cast<double>(std::max<int64_t>(samples, 1))", "double(samples)"),
    ("arguments.cpp", "gradients[a]->units == activations[a].units &&", ""),
    ("arguments.cpp", " || gradients[a]->dtype != activations[a].dtype", ""),
    ("arguments.cpp", " || !gradients[a]->data", ""),
    ("arguments.cpp", "if (extent < 1)", "if (extent < 0)"),
    ("class_order.cpp", "batch.labels[i] < -1", "batch.labels[i] < 0"),
    ("class_order.cpp", "batch.labels[i] > batch.classes", "batch.labels[i] >= batch.classes"),
    ("class_order.cpp", "  check_labels(batch);\n  for", "  for"),
    ("objectives.cpp", "if (n < 2) return 0;", "if (n < 1) return 0;"),
    ("objectives.cpp", "classes_with_pairs += n >= 2", "classes_with_pairs += n > 2"),
    ("objectives.cpp", "const double apart = between > 0 ?", "const double apart = between >= 0 ?"),
    ("moda_core.cpp", "  check_labels(batch);\n", ""),
    ("moda_core.cpp", "a, first, std::min(first + step, end)", "a, first, end"),
    ("moda_core.cpp", "not_finite[tasks[i].activation] +=", "not_finite[tasks[i].activation] ="),
    ("moda_core.cpp", "std::fill_n(counts, batch_.classes, R(0));", ""),
    ("moda_core.cpp", "sums(width), total(width", "sums(width); std::vector<R> total(width"),
    ("moda_core.cpp", "nonzero += inverse_norms_[sample] != 0", "nonzero += 1"),
    ("moda_core.cpp", "std::fill_n(vectors, offsets_[count_] * batch_.samples, R(0));", ""),
    ("moda_core.cpp", "      if (outputs[a])\n", ""),
    ("moda_core.cpp", "offsets_[task.activation] + task.first;", "offsets_[task.activation];"),
    ("moda_core.cpp", " * batch.samples + slice.first;", " * batch.samples;"),
    ("moda_core.cpp", "label * units + slice.first", "label * units"),
    ("kernels.cpp", "int64_t p = begin;\n      for (; p + 4", "int64_t p = 0;\n      for (; p + 4"),
    ("kernels.cpp", "sum_of_block<R>(run + begin,", "sum_of_block<R>(run,"),
    ("kernels.cpp", "for (int64_t p = begin; p < end; ++p)", "for (int64_t p = 0; p < end; ++p)"),
    ("kernels.cpp", "sum_of_block<R>(x + begin,", "sum_of_block<R>(x,"),
    ("kernels.cpp", "rest = 0;\n    int64_t j = begin;", "rest = 0;\n    int64_t j = 0;"),
    ("kernels.cpp", "p < end; ++p) add_magnitudes(", "p < begin; ++p) add_magnitudes("),
    ("kernels.cpp", "for (int64_t j = 0; j < units; ++j) scratch[j] = 0;", ""),
    ("kernels.cpp", "for (; j < end; ++j) rest += (x[j]", "for (; j < 0; ++j) rest += (x[j]"),
    ("kernels.cpp", "if (peak > 1e150) return 1e-300;", ""),
    ("kernels.cpp", "return peak < 1e-150 && peak > 0 ? 1e300 : 1;", "return 1;"),
    ("kernels.cpp", "quick > 1e-20 && quick < 1e30", "quick < 1e30"),
    ("kernels.cpp", "quick > 1e-20 && quick < 1e30", "quick > 1e-20"),
    ("kernels.cpp", "std::isinf(squares) ? NAN : ", ""),
    ("kernels.cpp", "product > largest_factor ? largest_factor : product", "product"),
    ("kernels.cpp", "x < 0 ? -value : x == 0 ? R(0) : x", "x < 0 ? -value : R(0)"),
    ("kernels.cpp", "> epsilon ? bits - 1 : bits", "> epsilon ? bits : bits"),
    ("kernels.cpp", " & (peaks[j] <= infinity)", ""),
    ("kernels.cpp", "not_finite += peaks[j] >= infinity", "not_finite += peaks[j] > infinity"),
    ("kernels.cpp", "for (; j < n; ++j) keep_larger(&peak", "for (; j < 0; ++j) keep_larger(&peak"),
    ("kernels.cpp", "magnitude_bits(x[j + 3 * stride])", "magnitude_bits(x[j + 2 * stride])"),
    ("thread_pool.cpp", "if (failed.load()) throw std::bad_alloc();", ""),
    ("thread_pool.cpp", "if (!lock.owns_lock()) return run_serially(tasks, body);", ""),
    ("thread_pool.cpp", "owner().pool->width != threads()", "false"),
    ("thread_pool.cpp", "new (&owner().pool) std::shared_ptr<Pool>();", ""),
    ("thread_pool.cpp", "if (--busy == 0) done", "if (busy-- == 0) done"),
]

# None of them uses the core.
LEFT_OUT = "import_loads_no_library"


def passes(command, folder, limit=600, **variables):
    """Whether a command ends with 0, in time."""
    try:
        environment = {**os.environ, **variables}
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0


def failure_of_core(folder, limit):
    """What fails of building and of the core's own tests; "" if nothing does."""
    if not passes(["cmake", "--build", "build", "--target", "core_test"], folder):
        return "the build"
    for instructions in ("avx512", "avx2", "baseline"):
        if not passes(["build/core_test"], folder, limit, MODA_KERAS_ISA=instructions):
            return f"core_test, {instructions}"
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="texts, one of which a mutant's entry has")
    parser.add_argument("--tests", nargs="*", default=["tests/ops/native", "tests/ops"])
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one run of tests")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="mutants") as folder:
        folder = Path(folder)
        for each in ("csrc", "moda_keras"):
            shutil.copytree(ROOT / each, folder / each)
        shutil.copy(ROOT / "CMakeLists.txt", folder)
        sys.path.insert(0, str(folder))
        # Processes that tests start must not find the package in the folder where they start.
        os.environ |= {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
        sys.dont_write_bytecode = True
        # Quick to build; the results are the same.
        options = ["-DMODA_TESTS=ON", "-DMODA_CUDA=0", "-DCMAKE_BUILD_TYPE=Plain"]
        options.append("-DCMAKE_CXX_FLAGS=-O1")
        assert passes(["cmake", "-GNinja", "-B", "build", *options], folder), "cmake fails"
        assert not failure_of_core(folder, arguments.limit), "the tests fail without a mutant"
        survivors = 0
        only = arguments.only or [""]
        chosen = [each for each in MUTANTS if any(text in f"{each}" for text in only)]
        for name, old, new in chosen:
            start = time.monotonic()
            path = folder / "csrc/core" / name
            source = path.read_text()
            assert old in source, (name, old)
            path.write_text(source.replace(old, new, 1))
            failure = failure_of_core(folder, arguments.limit)
            if not failure and arguments.tests:
                shutil.copy(folder / "build/libmoda_core.so", folder / "moda_keras")
                failure = first_failure(folder, arguments.tests, arguments.limit, LEFT_OUT)
            path.write_text(source)
            survivors += not failure
            change = " ".join(f"{old} -> {new or 'nothing'}".split())
            seconds = f"{time.monotonic() - start:.0f} s"
            print(name, change, failure or "SURVIVED", seconds, sep=" | ", flush=True)
    print(f"{len(chosen)} mutants, {survivors} survived")


if __name__ == "__main__":
    main()
