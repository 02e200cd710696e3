"""Runs scenarios in forked processes, so that Keras is imported once.

Reads requests from standard input, a JSON object a line, and answers each with one.
"""

import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def main():
    if os.environ.get("KERAS_BACKEND") != "tensorflow":
        sys.modules["tensorflow"] = None  # Keras imports it for seconds, but does without
    import matplotlib

    matplotlib.use("Agg")
    import scenarios

    # What the scenarios import when they first need it.
    import moda_keras.cli.app
    import moda_keras.reporting.page
    import moda_keras.reporting.plots  # noqa: F401
    from moda_keras import datasets

    datasets.load("digits", samples_per_class=2, test_samples_per_class=1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(answer(scenarios, request)), file=answers, flush=True)


def answer(scenarios, request):
    """Forks a process for a request.

    Args:
        scenarios: The module.
        request: Dict of "scenario", "folder", "temporary", and optionally "kill_at" (a point),
            "kill_after" (seconds), "cuts_power", "seed", "largest_file" (bytes).

    Returns:
        Dict of "status" (0, or minus the signal), "points", "seconds" and "output".
    """
    if request["scenario"] == "prepare":
        function = lambda: scenarios.prepare(request["folder"])  # noqa: E731
    else:
        function = scenarios.SCENARIOS[request["scenario"]]
    report = Path(f"{request['temporary']}.report")
    start = time.perf_counter()
    process = os.fork()
    if not process:
        run(function, request, report)
    timer = threading.Timer(request.get("kill_after", 120), os.kill, (process, signal.SIGKILL))
    timer.start()
    _, status = os.waitpid(process, 0)
    timer.cancel()
    text = Path(f"{report}.output").read_text(errors="replace")
    points = int(report.read_text() or 0) if report.exists() else 0
    report.unlink(missing_ok=True)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "points": points,
        "seconds": time.perf_counter() - start,
        "output": text[-3000:],
    }


def run(function, request, report):
    """The child: never returns."""
    import tempfile

    from kill_points import KillPoints

    code = 1
    try:
        with open(Path(f"{report}.output"), "w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.chdir(request["folder"])
        tempfile.tempdir = request["temporary"]
        folders = [request["folder"], request["temporary"]]
        points = KillPoints(
            folders,
            request.get("kill_at"),
            request.get("cuts_power", True),
            request.get("seed", 0),
        )
        if request["scenario"] != "prepare":
            points.install()
        if "largest_file" in request:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            limit = request["largest_file"]
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        function()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        points.is_asleep = True
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        report.write_text(str(points.count))
        os._exit(code)


if __name__ == "__main__":
    main()
