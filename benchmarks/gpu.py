"""Builds, checks, sanitizes and times the CUDA core on a machine with one GPU, in one call.

    python benchmarks/gpu.py                            all stages
    python benchmarks/gpu.py --quick                    times of VGG16 alone
    python benchmarks/gpu.py --stages build check       some stages
    python benchmarks/gpu.py --device cpu --small       what of it runs without a GPU, in a minute

It needs PyTorch with CUDA and Triton, Keras, nvcc, cmake and ninja, and this checkout as package
(installed with `pip install -e`, or by `PYTHONPATH=.`). Stages:

- build: the CPU and the CUDA core for this GPU, into the package's folder;
- check: values, gradients, statistics and counts against float64, over types, layouts and odd
  sizes; the same bits on every run; another stream; a CUDA graph; `torch.compile`; no waiting;
- sanitize: memcheck, racecheck, initcheck and synccheck of compute-sanitizer over small cases, all
  four side by side;
- time: loss and gradient over all hidden activations of a model, medians by CUDA events, inputs
  taken in turns so that none is in the cache: native (and as a CUDA graph, without Python),
  reference (class sums in eager PyTorch), compiled (the same under torch.compile, for one batch
  size), triton (a short version in Triton, also as a CUDA graph), pairwise (all pairs of samples),
  and bound: the bytes of the activations over the copying
  bandwidth;
- train: whole Keras training steps at 32x32, standard, modular with the reference, modular native,
  and MwT's.

Rows go into CSV files, and all of it with the versions and the name of the GPU into `gpu.json`, in
the folder `--output`.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

ROOT = Path(__file__).parents[1]
CLASSES = 4
LABELS = [0, 1, 0, 3, 1, 4, 0]  # class 2 absent, 4 is no class
UPSTREAM = [0.7, 1.3, 0.4]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="small sizes, few repeats")
    parser.add_argument("--quick", action="store_true", help="times of VGG16 alone")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--cases-only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cases_only:
        run_cases(arguments.device)
        return
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # or Keras would take the GPU
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "gpu.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    has_failed = False
    for stage in arguments.stages:
        print(f"== {stage}", flush=True)
        start = time.perf_counter()
        result = STAGES[stage](arguments)
        seconds = round(time.perf_counter() - start, 1)
        has_failed |= "failed" in str(result)
        results[stage] = {"seconds": seconds, "result": result}
        results["machine"] = machine(arguments.device)
        path.write_text(json.dumps(results, indent=2))
        print(f"== {stage}: {seconds} s", flush=True)
    print(f"written to {path}")
    sys.exit(has_failed)


def machine(device: str) -> dict:
    import keras
    import torch

    import moda_keras as mk

    facts = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "keras": keras.__version__,
        "native_status": mk.ops.native_status().splitlines(),
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts |= {"gpu": properties.name, "l2_bytes": properties.L2_cache_size}
    return facts


# ---------------------------------------------------------------------------------------- build


def build(arguments) -> dict | str:
    if not shutil.which("nvcc"):
        return "skipped: no nvcc"
    on_gpu = arguments.device == "cuda"
    folder = arguments.output.resolve() / "build"
    # Without a GPU it is only seen to compile: the package keeps the libraries that it has.
    destination = ROOT / "moda_keras" if on_gpu else folder / "installed"
    options = {
        "CMAKE_INSTALL_PREFIX": destination,
        "CMAKE_CUDA_ARCHITECTURES": "native" if on_gpu else "90-real",
        "MODA_CUDA": "1",
    }
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    run_logged(["cmake", "-GNinja", "-S", ROOT, "-B", folder, *definitions])
    run_logged(["cmake", "--build", folder, "--target", "install"])
    return {path.name: path.stat().st_size for path in destination.glob("*.so")}


def run_logged(command: list) -> None:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stdout[-4000:] + result.stderr[-4000:])


# ---------------------------------------------------------------------------------------- check


def layouts(dtype, device: str) -> Iterator[tuple]:
    """Names, activations of seven samples, and the axis of their units."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(7, *shape, generator=generator, dtype=torch.float64).to(device, dtype)

    yield "matrix", normal(19), 1
    yield "matrix in vectors", normal(48), 1
    yield "long matrix", normal(4096), 1
    yield "long odd matrix", normal(1037), 1
    yield "unaligned matrix", normal(49).flatten()[1:337].view(7, 48), 1
    yield "channels last", normal(5, 3, 19), 3
    yield "channels last in vectors", normal(32, 32, 64), 3
    yield "channels last, wide", normal(2, 1, 2064), 3
    yield "channels first", normal(9, 5, 7), 1
    yield "channels first in vectors", normal(64, 32, 32), 1
    yield "channels first, long", normal(3, 150, 144), 1
    yield "window", normal(9, 8, 19)[:, 2:7, 1:4], 3
    yield "window in vectors", normal(6, 8, 16)[:, 2:5, 1:4], 3
    yield "every second unit", normal(6, 38)[:, :, ::2], 2
    yield "every second position", normal(5, 18)[:, :, ::2], 1
    yield "volume", normal(3, 2, 4, 17).permute(0, 4, 1, 2, 3), 1


def operations_of(activation, axis: int, labels, upstream) -> tuple:
    """Objectives, their gradient, class statistics and counts, by the native operations."""
    import torch

    from moda_keras.ops.native import torch_operators

    leaf = activation.detach().requires_grad_()
    values = torch_operators.objectives([leaf], labels, CLASSES, [axis], [False], False, True)[0]
    (gradient,) = torch.autograd.grad((values * upstream).sum(), leaf)
    results = torch_operators.class_statistics([leaf], labels, CLASSES, [axis], [False])
    (of_sums,) = torch.autograd.grad(results[0].square().sum() + results[3].sum(), leaf)
    (counts,), _ = torch_operators.activation_frequency(
        [activation], labels, CLASSES, [axis], [1.2]
    )
    sums, class_counts, nonzero, l1 = (result.detach() for result in results[:4])
    return values, gradient, sums, class_counts, nonzero[:, 0], l1[:, 0], of_sums, counts


def expected_of(activation, axis: int, labels, upstream) -> tuple:
    """The same by the reference in `keras.ops`, in float64."""
    import torch

    import moda_keras as mk

    leaf = activation.detach().double().requires_grad_()
    joint = reference_statistics([leaf], labels, CLASSES, [axis], [False])
    values = mk.MODALoss()._table(joint)
    (gradient,) = torch.autograd.grad((values * upstream).sum(), leaf)
    results = reference_statistics([leaf], labels, CLASSES, [axis], [False]).split()[0]
    (of_sums,) = torch.autograd.grad(results[0].square().sum() + results[3].sum(), leaf)
    peaks = mk.ops.unit_peaks(leaf.detach(), axis=axis)
    counts = mk.ops.sum_by_class((peaks > 1.2).int(), labels, CLASSES)
    return values, gradient, *[result.detach() for result in results], of_sums, counts


def reference_statistics(activations, labels, classes: int, axes, known):
    """Joint class statistics by the reference in `keras.ops`."""
    from implementations import with_mode

    import moda_keras as mk

    observed = mk.ops.observations(activations, labels, axes, known)
    return with_mode("0", lambda: mk.ops.joint_statistics(observed, labels, classes))()


NAMES = [
    "objectives",
    "gradient",
    "sums",
    "counts",
    "nonzero",
    "l1",
    "gradient of sums",
    "frequency",
]


def check(arguments) -> dict:
    import torch

    device = arguments.device
    labels = torch.tensor(LABELS, dtype=torch.int32, device=device)
    # So large that no gradient is a subnormal number of half precision.
    upstream = 1e3 * torch.tensor([UPSTREAM], dtype=torch.float64, device=device)
    worst: dict[str, float] = {}
    failed = []
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        for name, activation, axis in layouts(dtype, device):
            actual = operations_of(activation, axis, labels, upstream)
            expected = expected_of(activation, axis, labels, upstream)
            again = operations_of(activation, axis, labels, upstream)
            for what, one, two, other in zip(NAMES, actual, expected, again, strict=True):
                key = f"{what} {dtype}".replace("torch.", "")
                worst[key] = max(worst.get(key, 0), difference(one, two))
                if difference(one, two) > tolerance_of(what, dtype):
                    failed.append(f"{key} {name}")
                if not torch.equal(one, other):
                    failed.append(f"{key} {name}: other bits in another run")
    extra = {name: outcome(test, device) for name, test in EXTRA_CHECKS.items()}
    for name, result in extra.items():
        print(f"{name}: {result}")
    for name, value in worst.items():
        print(f"{name}: {value:.2e}")
    print("failed:" if failed else "all values and gradients are right", *failed, sep="\n")
    result = {"largest_relative_difference": worst, "extra": extra}
    return result | ({"failed": failed} if failed else {})


def tolerance_of(what: str, dtype) -> float:
    import torch

    if dtype == torch.float64:
        return 1e-12
    # What is computed in float32 is rounded to half precision at the end.
    is_rounded = "gradient" in what and dtype.itemsize == 2
    return 2 * torch.finfo(dtype).eps if is_rounded else 40 * torch.finfo(torch.float32).eps


def difference(actual, expected) -> float:
    """The largest difference over the largest magnitude."""
    actual, expected = actual.detach().cpu().double(), expected.detach().double()
    scale = expected.abs().max().item() or 1.0
    return (actual - expected).abs().max().item() / scale


def outcome(test: Callable[[str], None], device: str) -> str:
    try:
        return test(device) or "passed"
    except Exception as error:
        return f"failed: {type(error).__name__}: {error}"


def step_inputs(device: str) -> tuple:
    import torch

    leaves = [torch.rand(32, *s, device=device) for s in ((8, 8, 64), (16, 16, 32), (512,))]
    return leaves, torch.arange(32, dtype=torch.int32, device=device) % CLASSES


def loss_and_gradients(leaves, labels, known=True) -> list:
    import torch

    import moda_keras as mk

    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    value = mk.MODALoss()(leaves, labels, CLASSES, non_negative=[known] * len(leaves))
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def assert_close(actual, expected) -> None:
    import torch

    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other)


def check_chosen(device: str) -> str | None:
    """The library's public face takes the native operations, and they agree with the reference."""
    from implementations import with_mode

    leaves, labels = step_inputs(device)
    native = with_mode("1", lambda: loss_and_gradients(leaves, labels))()
    assert_close(native, with_mode("0", lambda: loss_and_gradients(leaves, labels))())
    return None


def check_no_waiting(device: str) -> str | None:
    import torch

    if device == "cpu":
        return "skipped: no GPU"
    leaves, labels = step_inputs(device)
    loss_and_gradients(leaves, labels)
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss_and_gradients(leaves, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None


def check_stream(device: str) -> str | None:
    import torch

    if device == "cpu":
        return "skipped: no GPU"
    leaves, labels = step_inputs(device)
    expected = loss_and_gradients(leaves, labels)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        # Long work first: what ran on another stream would read the inputs too early.
        slow = [leaf + 0 * (torch.rand(4096, 4096, device=device) ** 2).sum() for leaf in leaves]
        actual = loss_and_gradients(slow, labels)
    stream.synchronize()
    assert_close(actual, expected)
    return None


def check_graph(device: str) -> str | None:
    import torch

    if device == "cpu":
        return "skipped: no GPU"
    leaves, labels = step_inputs(device)
    replay, results = captured(lambda: loss_and_gradients(leaves, labels))
    for leaf in leaves:
        leaf.copy_(torch.rand_like(leaf))
    replay()
    assert_close(results, loss_and_gradients(leaves, labels))
    return None


def captured(run: Callable[[], list]) -> tuple:
    """What replays `run` as a CUDA graph, and the results it writes to."""
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = run()
    return graph.replay, results


def check_compiled(device: str) -> str | None:
    import torch

    import moda_keras as mk

    leaves, labels = step_inputs(device)
    loss = mk.MODALoss()

    def value(tensors):
        known = [True] * len(tensors)
        return loss([t.relu() for t in tensors], labels, CLASSES, non_negative=known)

    compiled = torch.compile(value, fullgraph=True, backend="aot_eager")
    results = []
    for function in (compiled, value):
        own = [leaf.detach().requires_grad_() for leaf in leaves]
        total = function(own)
        results.append([total.detach(), *torch.autograd.grad(total, own)])
    assert_close(*results)
    return None


def check_autocast(device: str) -> str | None:
    import torch

    import moda_keras as mk

    with torch.autocast(device, dtype=torch.bfloat16):
        hidden = torch.relu(torch.randn(7, 8, device=device) @ torch.randn(8, 5, device=device))
        labels = torch.arange(7, dtype=torch.int32, device=device) % CLASSES
        value = mk.MODALoss()([hidden], labels, CLASSES)
    if (hidden.dtype, value.dtype) != (torch.bfloat16, torch.float32):
        return f"failed: {hidden.dtype}, {value.dtype}"
    return None


def check_operators(device: str) -> str | None:
    import torch

    from moda_keras.ops.native import torch_operators

    leaves, labels = step_inputs(device)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    axes, known = [3, 3, 1], [True, False, True]
    arguments = (leaves, labels, CLASSES, axes, known, False, True)
    torch.library.opcheck(torch_operators.objectives, arguments)
    torch.library.opcheck(torch_operators.class_statistics, (leaves, labels, CLASSES, axes, known))
    counts = (leaves, labels, CLASSES, axes, [0.0] * 3)
    torch.library.opcheck(torch_operators.activation_frequency, counts)
    return None


def check_triton(device: str) -> str | None:
    """The rival that `time` compares with is right."""
    if device == "cpu":
        return "skipped: no GPU"
    import triton_objectives

    leaves, labels = step_inputs(device)
    actual = triton_objectives.loss_and_gradients(leaves, labels, CLASSES)
    assert_close(actual, loss_and_gradients(leaves, labels))
    return None


EXTRA_CHECKS = {
    "chosen": check_chosen,
    "no waiting for the device": check_no_waiting,
    "stream": check_stream,
    "CUDA graph": check_graph,
    "torch.compile": check_compiled,
    "autocast": check_autocast,
    "opcheck": check_operators,
    "Triton": check_triton,
}


# -------------------------------------------------------------------------------------- sanitize


SANITIZE_SECONDS = 400


def run_cases(device: str) -> None:
    """Every operation over every layout and type: what the sanitizers watch."""
    import torch

    labels = torch.tensor(LABELS, dtype=torch.int32, device=device)
    upstream = torch.tensor([UPSTREAM], dtype=torch.float64, device=device)
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        for _, activation, axis in layouts(dtype, device):
            operations_of(activation, axis, labels, upstream)
    if device == "cuda":
        torch.cuda.synchronize()
    print("all cases ran")


def sanitize(arguments) -> dict | str:
    if arguments.device == "cpu":
        run_cases("cpu")
        return "skipped: no GPU"
    sanitizer = shutil.which("compute-sanitizer", path=f"{os.environ['PATH']}:/usr/local/cuda/bin")
    if not sanitizer:
        return "skipped: no compute-sanitizer"
    knows = subprocess.run([sanitizer, "--help"], capture_output=True, text=True).stdout
    ours = ["--kernel-regex", "kns=moda"] if "kernel-regex" in knows else []
    # Every tensor is an allocation of its own, so that nothing past its end is in another.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    processes = {}
    for tool in ("memcheck", "racecheck", "initcheck", "synccheck"):
        command = [sanitizer, "--tool", tool, "--error-exitcode", "9", *ours, sys.executable]
        with (arguments.output / f"{tool}.log").open("w") as log:
            processes[tool] = subprocess.Popen(
                [*command, __file__, "--cases-only"], stdout=log, stderr=log, env=environment
            )
    deadline = time.monotonic() + SANITIZE_SECONDS
    return {
        tool: verdict_of(process, arguments.output / f"{tool}.log", deadline)
        for tool, process in processes.items()
    }


def verdict_of(process: subprocess.Popen, log: Path, deadline: float) -> str:
    try:
        process.wait(max(0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    output = log.read_text()
    is_clean = process.returncode == 0 and "all cases ran" in output
    summary = [line for line in output.splitlines() if "SUMMARY" in line]
    verdict = "clean" if is_clean else f"failed: {summary or output[-500:] or 'out of time'}"
    print(log.stem, verdict, flush=True)
    return verdict


# ------------------------------------------------------------------------------------------ time


# Compiling takes up to a minute.
COMPILED_BATCH_SIZE = 128


def time_operations(arguments) -> list[dict]:
    import activations
    import torch
    from tables import append_row

    bandwidth = copy_bandwidth(arguments)
    print(f"copy: {bandwidth / 1e9:.0f} GB/s, read and written")
    rows = []
    is_short = arguments.small or arguments.quick
    models = ["vgg16"] if is_short else list(activations.MODELS)
    for model in models:
        for batch_size in [4] if arguments.small else [32, 128, 512, 2048]:
            for dtype in (torch.float32, torch.bfloat16):
                row = time_case(arguments, model, batch_size, dtype, bandwidth)
                print(row, flush=True)
                append_row(arguments.output / "time.csv", row)
                rows.append(row)
    return rows


def time_case(arguments, model: str, batch_size: int, dtype, bandwidth: float) -> dict:
    import activations
    import torch
    from implementations import with_mode
    from ops import torch_pairwise

    import moda_keras as mk

    device, classes = arguments.device, 10
    generator = torch.Generator(device).manual_seed(0)
    labels = torch.randint(classes, (batch_size,), generator=generator, device=device).int()

    def draw():
        return [
            torch.randn(batch_size, *shape, generator=generator, device=device).relu().to(dtype)
            for shape in activations.MODELS[model]
        ]

    first = draw()
    size = sum(a.numel() * a.element_size() for a in first)
    copies = [first] + [draw() for _ in range(sets_of_inputs(size, device) - 1)]
    loss = mk.MODALoss()
    known = [True] * len(first)
    axes = [a.dim() - 1 for a in first]
    weights = torch.tensor([loss.alpha, loss.beta, loss.gamma], device=device)

    def reference(leaves):
        return (
            loss._table(reference_statistics(leaves, labels, classes, axes, known)) @ weights
        ).mean()

    def native(leaves):
        return loss(leaves, labels, classes, non_negative=known)

    def pairwise(leaves):
        with torch.device(device):
            return torch_pairwise([leaf.float() for leaf in leaves], labels, loss)

    def with_gradient(function):
        def run(inputs):
            leaves = [a.detach().requires_grad_() for a in inputs]
            return torch.autograd.grad(function(leaves), leaves)

        return run

    row = {
        "model": model,
        "dtype": str(dtype).removeprefix("torch."),
        "batch_size": batch_size,
        "classes": classes,
        "megabytes": round(size / 1e6, 1),
        "bound_us": round(1e6 * size / bandwidth, 1),
    }
    candidates = {
        "native": with_gradient(native),
        "reference": with_gradient(reference),
        "pairwise": with_gradient(pairwise),
    }
    row |= dict.fromkeys(["compiled_us", "triton_us", "triton_graph_us", "native_graph_us"])
    row["native_graph_over_bound"] = None
    if batch_size == COMPILED_BATCH_SIZE:
        candidates["compiled"] = with_gradient(torch.compile(reference))
    if device == "cuda":
        import triton_objectives

        candidates["triton"] = lambda a: triton_objectives.loss_and_gradients(a, labels, classes)
    repeats = 3 if arguments.small else 30
    for name, run in candidates.items():
        mode = "1" if name == "native" else "0"
        calls = [with_mode(mode, lambda i=inputs, r=run: r(i)) for inputs in copies]
        row[f"{name}_us"] = median_microseconds(calls, repeats, device)
    if device == "cuda":
        for name in ("native", "triton"):
            calls = [captured(lambda i=i, n=name: candidates[n](i))[0] for i in copies]
            row[f"{name}_graph_us"] = median_microseconds(calls, repeats, device)
        row["native_graph_over_bound"] = round(row["native_graph_us"] / row["bound_us"], 2)
    return row


def sets_of_inputs(size: int, device: str) -> int:
    """How many sets make four times what the cache holds."""
    import torch

    cache = torch.cuda.get_device_properties(0).L2_cache_size if device == "cuda" else 0
    return max(2, min(16, -(-4 * cache // size)))


def median_microseconds(calls: list[Callable], repeats: int, device: str) -> float:
    """Medians over calls in turns; on a GPU, from event to event on its stream."""
    import torch

    for call in calls:
        call()
    if device == "cpu":
        seconds = []
        for i in range(repeats):
            start = time.perf_counter()
            calls[i % len(calls)]()
            seconds.append(time.perf_counter() - start)
        return round(1e6 * statistics.median(seconds), 1)
    events = []
    torch.cuda.synchronize()
    for i in range(repeats):
        events.append([torch.cuda.Event(enable_timing=True) for _ in range(2)])
        events[-1][0].record()
        calls[i % len(calls)]()
        events[-1][1].record()
    torch.cuda.synchronize()
    return round(1e3 * statistics.median(a.elapsed_time(b) for a, b in events), 1)


def copy_bandwidth(arguments) -> float:
    """Bytes read and written in a second by copies within the device."""
    import torch

    size = 1 << (24 if arguments.small else 30)
    source = torch.zeros(size, dtype=torch.uint8, device=arguments.device)
    target = torch.empty_like(source)
    microseconds = median_microseconds([lambda: target.copy_(source)], 11, arguments.device)
    return 2 * size / (1e-6 * microseconds)


# ----------------------------------------------------------------------------------------- train


def train(arguments) -> list[dict]:
    import keras
    import training
    from tables import append_row

    rows = []
    models = ["mobilenet"] if arguments.small else ["vgg16", "resnet18", "mobilenet"]
    for policy in ("float32", "mixed_bfloat16"):
        keras.mixed_precision.set_global_policy(policy)
        for model in ["vgg16"] if arguments.quick else models:
            batch_size, repeats = (4, 1) if arguments.small else (128, 15)
            row = {"policy": policy} | training.measure(model, batch_size, repeats, [])
            print(row, flush=True)
            append_row(arguments.output / "train.csv", row)
            rows.append(row)
    keras.mixed_precision.set_global_policy("float32")
    return rows


STAGES = {
    "build": build,
    "check": check,
    "sanitize": sanitize,
    "time": time_operations,
    "train": train,
}

if __name__ == "__main__":
    main()
