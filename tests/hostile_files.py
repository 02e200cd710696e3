"""Damaged and malicious module files: variants of a good one, and what loading them does.

As a script, it loads many variants in a child process with a memory limit and prints what came of
them:

    KERAS_BACKEND=torch python tests/hostile_files.py --variants 10000
"""

import argparse
import collections
import contextlib
import io
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np

NAMES = ("manifest.json", "arrays.npz", "model.keras")
# What one variant may take: the default limit of `load_modules` for small files, and some room.
MOST_BYTES = 400 * 2**20
MOST_SECONDS = 10.0
VALUES = (
    None, True, False, -1, 0, 1, 7, 10**7, 10**12, 10**30, -(10**12), 0.5, -2.5, 1e308,
    float("nan"), float("inf"), "", "x", "x" * 5000, "\x1b[31mred", "../../etc/passwd",
    "/etc/passwd", "builtins", "eval", "keras", "Lambda", "__lambda__", [], [[]], [0], [None] * 50,
    {}, {"class_name": "Lambda"}, {"a": {"b": [1]}}, list(range(200)), "first", "units", "counts",
)  # fmt: skip
DTYPES = (
    "int8", "int64", "uint64", "float16", "float32", "float64", "bool", "complex64", "M8[s]",
    "m8[s]", "U5", "S5",
)  # fmt: skip


# ------------------------------------------------------------------------------------- archives


def members_of(content):
    """The members of a zip archive by name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(members, compression=zipfile.ZIP_STORED):
    """A zip archive of members, given as a dict or as pairs."""
    buffer = io.BytesIO()
    pairs = members.items() if isinstance(members, dict) else members
    with (
        warnings.catch_warnings(action="ignore"),
        zipfile.ZipFile(buffer, "w", compression) as archive,
    ):
        for name, content in pairs:
            archive.writestr(name, content)
    return buffer.getvalue()


def with_members(content, /, **changes):
    """A module file or .keras file with other members: `__` stands for the dot; None for none."""
    members = members_of(content)
    for key, value in changes.items():
        name = key.replace("__", ".")
        if value is None:
            members.pop(name)
        else:
            members[name] = value
    return archive_of(members)


def with_manifest(content, /, **changes):
    manifest = json.loads(members_of(content)["manifest.json"])
    return with_members(content, manifest__json=json.dumps({**manifest, **changes}))


def with_arrays(content, /, **changes):
    """A module file with other arrays; None for none."""
    arrays = arrays_of(content) | changes
    buffer = io.BytesIO()
    np.savez(buffer, **{name: each for name, each in arrays.items() if each is not None})
    return with_members(content, arrays__npz=buffer.getvalue())


def arrays_of(content):
    with np.load(io.BytesIO(members_of(content)["arrays.npz"])) as arrays:
        return dict(arrays)


def with_model(content, /, **changes):
    """A module file whose model file has other members."""
    model = members_of(content)["model.keras"]
    changes = {key.replace("weights", "model.weights.h5"): each for key, each in changes.items()}
    return with_members(content, model__keras=with_members(model, **changes))


def config_of(content):
    return json.loads(members_of(members_of(content)["model.keras"])["config.json"])


def with_config(content, config):
    return with_model(content, config__json=json.dumps(config))


def with_weights(content, change):
    """A module file whose weights file was changed by a function of the open HDF5 file."""
    model = members_of(content)["model.keras"]
    buffer = io.BytesIO(members_of(model)["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        change(file)
    return with_model(content, weights=buffer.getvalue())


# ------------------------------------------------------------------------------------ mutations


def bytes_changed(rng, content, keeps_length=False):
    """Some bytes are others and, unless the length is kept, missing, there twice or inserted."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        place = rng.randrange(len(changed)) if changed else 0
        length = rng.choice((1, 1, 2, 4, 8, 100, 1000))
        match rng.randrange(3 if keeps_length else 6):
            case 0:
                changed[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                length = min(length, len(changed) - place)
                changed[place : place + length] = rng.randbytes(length)
            case 2:
                number = struct.pack("<I", rng.choice((0, 1, 2**31, 2**32 - 1)))
                changed[place : place + 4] = number[: len(changed) - place]
            case 3:
                del changed[place : place + length]
            case 4:
                changed[place:place] = changed[place : place + length]
            case 5:
                del changed[place:]
    return bytes(changed)


def value_changed(rng, tree):
    """A tree of JSON in which one value is another, missing, or elsewhere."""
    tree = json.loads(json.dumps(tree))
    places = []
    remaining = [tree]
    while remaining:
        node = remaining.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        places += [(node, key) for key in keys]
        remaining += [node[key] for key in keys if isinstance(node[key], (dict, list))]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        node, key = rng.choice(places)
        with contextlib.suppress(LookupError):
            match rng.randrange(6):
                case 0:
                    del node[key]
                case 1:
                    node[key] = [node[key]] * rng.choice((1, 2, 100))
                case 2:
                    other, place = rng.choice(places)
                    node[key] = json.loads(json.dumps(other[place]))
                case _:
                    node[key] = rng.choice(VALUES)
    return tree


def of_file(rng, good):
    """Damage to the file itself."""
    return bytes_changed(rng, good)


def of_member(rng, good):
    """Damage to a member, with a right checksum."""
    name = rng.choice(NAMES)
    members = members_of(good)
    return archive_of(members | {name: bytes_changed(rng, members[name])})


def of_manifest(rng, good):
    members = members_of(good)
    changed = value_changed(rng, json.loads(members["manifest.json"]))
    return archive_of(members | {"manifest.json": json.dumps(changed)})


def of_tables(rng, good):
    """Tables of other types, shapes and values."""
    arrays = arrays_of(good)
    name = rng.choice(list(arrays))
    shape = rng.choice((arrays[name].shape, arrays[name].shape, (), (3,), (3, 0), (1, 4, 4)))
    dtype = rng.choice(DTYPES)
    values = np.full(shape, rng.choice((-1, 0, 1, 3, 100))).astype(dtype)
    if values.dtype.kind == "f":
        values = values * values.dtype.type(rng.choice((1, -1, 0.5, np.nan, np.inf)))
    changed = with_arrays(good, **{name: rng.choice((values, values, values, None))})
    if rng.random() < 0.3:
        content = members_of(changed)["arrays.npz"]
        changed = with_members(changed, arrays__npz=_within(rng, content))
    return changed


def _within(rng, archive):
    """An archive in which one member is damaged, with a right checksum."""
    members = members_of(archive)
    name = rng.choice(list(members))
    return archive_of(members | {name: bytes_changed(rng, members[name])})


def of_model(rng, good):
    """Damage to a member of the model file, with right checksums."""
    return with_members(good, model__keras=_within(rng, members_of(good)["model.keras"]))


def of_config(rng, good):
    return with_config(good, value_changed(rng, config_of(good)))


def of_weights(rng, good):
    """Damage to the HDF5 file, with right checksums."""
    weights = members_of(members_of(good)["model.keras"])["model.weights.h5"]
    return with_model(good, weights=bytes_changed(rng, weights, keeps_length=rng.random() < 0.8))


def of_datasets(rng, good):
    """Other datasets in the HDF5 file."""

    def change(file):
        names = []
        file.visit(names.append)
        name = rng.choice([each for each in names if isinstance(file[each], h5py.Dataset)])
        shape = file[name].shape
        del file[name]
        match rng.randrange(9):
            case 0:
                file.create_dataset(name, (10**9,), "f4", chunks=(10**6,), compression="gzip")
            case 1:
                file.create_dataset(name, (10**10,), "f4", fillvalue=1.0, chunks=(10**5,))
            case 2:
                file[name] = h5py.SoftLink("/")
            case 3:
                file[name] = h5py.ExternalLink("/etc/passwd", "/")
            case 4:
                file[name] = np.zeros(shape, rng.choice(("c8", "S5", "f2", "i8", "?")))
            case 5:
                file[name] = file["/"]
            case 6:
                file.create_dataset(name, shape, h5py.string_dtype())
            case 7:
                file[name] = np.full((*shape, 3), np.nan)
            case 8:
                external = [("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
                file.create_dataset(name, (5,), "u1", external=external)

    return with_weights(good, change)


def of_zip(rng, good):
    """Names, methods and sizes that an archive of ours does not have."""
    members = members_of(good)
    name = rng.choice(NAMES)
    match rng.randrange(7):
        case 0:
            return archive_of([*members.items(), (name, members[name])])
        case 1:
            return archive_of(members, rng.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))
        case 2:
            return archive_of(members | {rng.choice(("/x", "../x", "a\\b", "c:x")): b"x"})
        case 3:
            return rng.randbytes(rng.randrange(1, 5000)) + good
        case 4:
            return archive_of({each: members[each] for each in NAMES if each != name})
        case 5:
            return archive_of(members | {name: b" " * rng.randrange(3 * 10**7)}, 8)
        case _:  # one of the sizes, methods, names and places of the last member
            changed = bytearray(good)
            place = good.rindex(b"PK\x01\x02") + rng.randrange(4, 46)
            changed[place : place + 2] = rng.randbytes(2)
            return bytes(changed)


MUTATIONS = (
    of_file, of_member, of_manifest, of_tables, of_model, of_config, of_weights, of_datasets,
    of_zip,
)  # fmt: skip


def variant(index, goods):
    """The kind and the content of a variant; the same ones for the same index."""
    rng = random.Random(index)
    mutation = MUTATIONS[index % len(MUTATIONS)]
    return mutation.__name__, mutation(rng, goods[index // len(MUTATIONS) % len(goods)])


# ---------------------------------------------------------------------------------------- bombs


def _zeros_in_two_archives(good):
    """A table of 1 GiB in 2 kB or so."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("activation_0.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|i1", "fortran_order": False, "shape": (3, 2**30 // 3)}
        )
        for _ in range(2**10):
            file.write(bytes(2**20))
    return archive_of(members_of(good) | {"arrays.npz": buffer.getvalue()}, zipfile.ZIP_DEFLATED)


def _manifest_of_spaces(good):
    members = members_of(good)
    members["manifest.json"] += b" " * 2**29
    return archive_of(members, zipfile.ZIP_DEFLATED)


def _prefix_of_the_model(good):
    members = members_of(good)
    members["model.keras"] = bytes(2**30) + members["model.keras"]
    return archive_of(members, zipfile.ZIP_DEFLATED)


def _config_of_ten_million_units(good):
    config = config_of(good)
    del config["config"]["layers"][2:]
    config["config"]["layers"][1]["config"]["units"] = 10**7
    return with_config(good, config)


def _chain_of_huge_layers(good):
    """Each fits the one before."""
    config = config_of(good)
    first, last = config["config"]["layers"][:2]
    layers = [
        {**last, "config": last["config"] | {"name": f"d{i}", "units": 9000}} for i in range(9)
    ]
    for layer in layers:
        del layer["build_config"]
    config["config"]["layers"] = [first, *layers]
    return with_config(good, config)


def _config_of_twenty_thousand_layers(good):
    config = config_of(good)
    layer = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 6}}
    config["config"]["layers"][1:1] = [layer] * 20_000
    return with_config(good, config)


def _weights_of_zeros(good):
    def change(file):
        del file["layers/dense/vars/0"]
        file.create_dataset(
            "layers/dense/vars/0", (3 * 10**9,), "u1", compression="gzip", chunks=(10**6,)
        )

    return with_weights(good, change)


def _million_class_names(good):
    return with_manifest(good, class_names=[f"class {index}" for index in range(900_000)])


BOMBS = (
    _zeros_in_two_archives, _manifest_of_spaces, _prefix_of_the_model,
    _config_of_ten_million_units, _chain_of_huge_layers, _config_of_twenty_thousand_layers,
    _weights_of_zeros, _million_class_names,
)  # fmt: skip


# -------------------------------------------------------------------------------------- loading


def good_files(folder):
    """Files with counts, with units alone, and with importance and a sub-task."""
    from small_models import inputs_of, mlp, random_modules

    import moda_keras as mk

    model = mlp()
    x, y = inputs_of(model, 12), np.arange(12) % 3
    counted = mk.decompose(model, x, y, threshold=0.6, verbose=0)
    measured = mk.decompose(model, x, y, criterion="importance", verbose=0)
    chosen = measured.with_units(measured.units, [0, 2])
    contents = []
    for number, modules in enumerate((counted, random_modules(model), chosen)):
        path = Path(folder) / f"good{number}.modules"
        modules.save(path, overwrite=True)
        contents.append(path.read_bytes())
    return contents


def outcome_of(content, path):
    """What loading does: "loaded", "refused", or what went wrong.

    Args:
        content: Of the file.
        path: Where to write it.

    Returns:
        A word, and details.
    """
    import moda_keras as mk

    path.write_bytes(content)
    try:
        modules = mk.load_modules(path)
    except mk.ModuleFileError as error:
        if "MemoryError" in f"{error}{error.__cause__!r}":
            return "out of memory", str(error)
        if path.name not in str(error) or len(str(error)) > 2000 or not error.reason:
            return "bad message", str(error)[:500]
        return ("refused", error.reason) if str(error).isprintable() else ("escapes", repr(error))
    except BaseException as error:
        return f"raised {type(error).__name__}", str(error)[:500]
    return ("loaded", "") if is_sound(modules) else ("unsound", "")


def is_sound(modules):
    """Whether loaded modules are some that the library could have made."""
    units, classes = modules.slicer.units, modules.model.outputs[0].shape[-1]
    tables = [modules.units]
    tables += [each for each in (modules.activation_counts, modules.importance) if each is not None]
    fits = all(
        list(table) == list(units)
        and all(table[name].shape == (classes, units[name]) for name in units)
        for table in tables
    )
    counts = [*(modules.activation_counts or {}).values(), *(modules.importance or {}).values()]
    if modules.sample_counts is not None:
        counts.append(modules.sample_counts)
    is_count = all(np.isfinite(each).all() and (each >= 0).all() for each in counts)
    is_bool = all(each.dtype == bool for each in modules.units.values())
    printable = all(each.isprintable() for each in (*modules.class_names, *modules.units))
    present = modules.classes_with_modules()
    fits = fits and (not len(present) or 0 < modules.plan([present[0]]).relative_size <= 1)
    return fits and is_count and is_bool and printable


# -------------------------------------------------------------------------------- as a process


def peak_bytes(reset=False):
    """The most memory that this process has had since the last reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def resident_bytes():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


def assert_cheap(load):
    """Calls it, and sees that it takes little memory.

    Memory is known to the system alone: frameworks have allocators of their own.
    """
    if sys.platform != "linux":
        return load()
    before = resident_bytes()
    peak_bytes(reset=True)
    result = load()
    assert peak_bytes() - before < 100 * 2**20
    return result


def child(first, last, folder):
    """Loads variants and prints a line about each."""
    import faulthandler
    import resource

    goods = good_files(folder)
    outcome_of(goods[0], Path(folder) / "first.modules")
    virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (virtual + 4 * MOST_BYTES,) * 2)
    for index in range(first, last):
        kind, content = variant(index, goods)
        faulthandler.dump_traceback_later(60, exit=True)
        before = resident_bytes()
        peak_bytes(reset=True)
        start = time.perf_counter()
        with warnings.catch_warnings(action="ignore"):
            word, details = outcome_of(content, Path(folder) / f"variant{index}.modules")
        seconds = time.perf_counter() - start
        (Path(folder) / f"variant{index}.modules").unlink()
        line = [index, kind, word, details, seconds, peak_bytes() - before]
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def bombs(folder):
    """Prints what each bomb costs."""
    goods, path = good_files(folder), Path(folder) / "bomb.modules"
    outcome_of(goods[0], path)
    for make in BOMBS:
        content = make(goods[0])
        before = resident_bytes()
        peak_bytes(reset=True)
        start = time.perf_counter()
        word, reason = outcome_of(content, path)
        seconds, size = time.perf_counter() - start, (peak_bytes() - before) / 2**20
        name = make.__name__.strip("_").replace("_", " ")
        print(f"{name:36} {len(content):10,} bytes  {word}  {seconds:.2f} s  {size:.0f} MiB")
        print(f"    {reason[:200]}")


def run(variants, start=0):
    """Loads variants in child processes; one that ends with a variant is followed by the next.

    Yields:
        For each variant: index, kind, outcome, details, seconds, bytes.
    """
    root = Path(__file__).parent
    path = os.pathsep.join([str(root.parent), str(root), os.environ.get("PYTHONPATH", "")])
    index, last = start, start + variants
    while index < last:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--child", str(index), str(last), folder]
            with subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if index == start else subprocess.DEVNULL,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
            ) as process:
                begun = index
                for line in process.stdout:
                    if line.startswith("["):
                        row = json.loads(line)
                        yield row
                        index = row[0] + 1
                errors = process.stderr.read() if process.stderr else ""
            if process.returncode and index < last:
                if index == begun == start:
                    raise RuntimeError(errors)
                kind = MUTATIONS[index % len(MUTATIONS)].__name__
                yield [index, kind, f"ended {process.returncode}", errors[-300:], 0.0, 0]
                index += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", type=int, default=10_000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--child", nargs=3)
    parser.add_argument("--bombs", action="store_true", help="load bombs of full size instead")
    arguments = parser.parse_args()
    if arguments.bombs:
        with tempfile.TemporaryDirectory() as folder:
            bombs(folder)
        return
    if arguments.child:
        first, last, folder = arguments.child
        child(int(first), int(last), folder)
        return
    counts, rows = collections.Counter(), []
    for row in run(arguments.variants, arguments.start):
        counts[row[1], row[2]] += 1
        rows.append(row)
        if row[2] not in ("loaded", "refused") or row[4] > MOST_SECONDS or row[5] > MOST_BYTES:
            print(json.dumps(row), flush=True)
    for (kind, word), count in sorted(counts.items()):
        print(f"{kind:14} {word:24} {count:6}")
    print(f"variants {len(rows)}, loaded {sum(row[2] == 'loaded' for row in rows)}")
    print(f"most seconds {max(row[4] for row in rows):.2f}")
    print(f"most MiB {max(row[5] for row in rows) / 2**20:.0f}")


if __name__ == "__main__":
    main()
