import json
import zipfile

import keras
import numpy as np
import pytest
from keras import layers
from small_models import inputs_of, mlp, random_modules, run_in_fresh_process

import moda_keras as mk
from moda_keras.modules import archive

NAMES = ["ant", "bee", "cat"]


@pytest.fixture(scope="module")
def modules():
    model = mlp()
    x = inputs_of(model, 30)
    return mk.decompose(model, x, np.arange(30) % 3, class_names=NAMES, threshold=0.6, verbose=0)


@pytest.fixture(scope="module")
def saved(modules, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "three.modules"
    modules.save(path)
    return path


def predict(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


def same_tables(first, second):
    assert list(first) == list(second)
    for name, table in first.items():
        np.testing.assert_array_equal(second[name], table)
        assert second[name].dtype == table.dtype
    return True


def test_round_trip(modules, saved):
    loaded = mk.load_modules(saved)
    assert same_tables(modules.units, loaded.units)
    assert same_tables(modules.frequency, loaded.frequency)
    assert (loaded.class_names, loaded.threshold) == (tuple(NAMES), 0.6)
    np.testing.assert_array_equal(loaded.sample_counts, [10, 10, 10])
    x = inputs_of(modules.model, 4)
    np.testing.assert_array_equal(predict(loaded.model, x), predict(modules.model, x))
    small, expected = mk.compose(loaded, ["cat", "ant"]), mk.compose(modules, ["cat", "ant"])
    np.testing.assert_array_equal(predict(small, x), predict(expected, x))
    assert same_tables(modules.with_threshold(0.9).units, loaded.with_threshold(0.9).units)


def test_round_trip_of_units_alone(tmp_path):
    modules = random_modules(mlp())
    modules.save(str(tmp_path / "units.modules"))
    loaded = mk.load_modules(str(tmp_path / "units.modules"))
    assert same_tables(modules.units, loaded.units)
    assert loaded.threshold is None
    assert loaded.sample_counts is None


def test_threshold_for_each_activation_is_kept(modules, tmp_path):
    each = modules.with_threshold({"first": 1 / 3, "second": 0.9})
    each.save(tmp_path / "each.modules")
    loaded = mk.load_modules(tmp_path / "each.modules")
    assert loaded.threshold == {"first": 1 / 3, "second": 0.9}
    assert same_tables(each.units, loaded.units)


def test_older_versions_can_read_what_they_know(modules, saved, tmp_path):
    """Version 1 knows one threshold for all activations."""
    assert json.loads(manifest_of(saved))["version"] == 1
    modules.with_threshold({"first": 0.5, "second": 0.9}).save(tmp_path / "each.modules")
    assert json.loads(manifest_of(tmp_path / "each.modules"))["version"] == 2


def test_epsilons_are_kept(tmp_path):
    model = mlp(activation="tanh")
    x, epsilon = inputs_of(model, 30), {"first": 0.25, "second": 0.1}
    modules = mk.decompose(model, x, np.arange(30) % 3, epsilon=epsilon, verbose=0)
    modules.save(tmp_path / "x.modules")
    loaded = mk.load_modules(tmp_path / "x.modules")
    assert loaded.epsilons == loaded.with_threshold(0.5).epsilons == epsilon


def test_older_files_do_not_tell_epsilons(modules, saved, tmp_path):
    with zipfile.ZipFile(saved) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    del manifest["epsilons"]
    path = rewrite(saved, tmp_path / "old.modules", manifest=json.dumps(manifest))
    loaded = mk.load_modules(path)
    assert loaded.epsilons is None
    assert same_tables(modules.units, loaded.units)


def test_missing_folders_are_made(modules, tmp_path):
    path = tmp_path / "new" / "folder" / "x.modules"
    modules.save(path)
    assert path.is_file()


def test_fresh_process_loads_the_file(modules, saved):
    code = (
        "import sys, json, numpy as np, keras, moda_keras as mk\n"
        "modules = mk.load_modules(sys.argv[1])\n"
        "outputs = modules.model(np.ones((1, 4), 'float32'))\n"
        "units = {name: table.tolist() for name, table in modules.units.items()}\n"
        "print(json.dumps([units, keras.ops.convert_to_numpy(outputs).tolist()]))\n"
    )
    units, outputs = json.loads(run_in_fresh_process(code, saved).splitlines()[-1])
    assert units == {name: table.tolist() for name, table in modules.units.items()}
    expected = predict(modules.model, np.ones((1, 4), "float32"))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def test_custom_layer_needs_custom_objects(tmp_path):
    inputs = keras.Input((4,))
    x = Doubled()(layers.Dense(6, activation="relu", name="first")(inputs))
    modules = random_modules(keras.Model(inputs, layers.Dense(3)(x)))
    path = tmp_path / "custom.modules"
    modules.save(path)
    with pytest.raises(mk.ModuleFileError, match="Doubled"):
        mk.load_modules(path)
    loaded = mk.load_modules(path, custom_objects={"Doubled": Doubled})
    data = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(predict(loaded.model, data), predict(modules.model, data))


# ------------------------------------------------------------------------------- damaged files


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_truncated_file(saved, tmp_path, share):
    content = saved.read_bytes()
    path = tmp_path / "truncated.modules"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"truncated\.modules"):
        mk.load_modules(path)


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes(tmp_path, seed):
    path = tmp_path / "random.modules"
    path.write_bytes(np.random.default_rng(seed).bytes(5000))
    with pytest.raises(ValueError, match="module file"):
        mk.load_modules(path)


def test_flipped_byte_in_the_arrays_or_the_model(saved, tmp_path):
    content = saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        places = [info.header_offset + 200 for info in archive.infolist()[1:]]
    for place in places:
        path = tmp_path / "flipped.modules"
        path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        with pytest.raises(ValueError, match="damaged"):
            mk.load_modules(path)


def rewrite(saved, path, **entries):
    """A copy of the file with other entries; None leaves one out."""
    names = {"manifest": "manifest.json", "arrays": "arrays.npz", "model": "model.keras"}
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for key, name in names.items():
            content = entries.get(key, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return path


def manifest_of(saved, **changes):
    with zipfile.ZipFile(saved) as archive:
        return json.dumps({**json.loads(archive.read("manifest.json")), **changes})


@pytest.mark.parametrize("entry", ["manifest", "arrays", "model"])
def test_missing_entry(saved, tmp_path, entry):
    path = rewrite(saved, tmp_path / "x.modules", **{entry: None})
    with pytest.raises(ValueError, match="module file"):
        mk.load_modules(path)


@pytest.mark.parametrize("manifest", [b"\xff\xfe\x00", b"[]", b"{}", b'{"format": "other"}'])
def test_manifest_of_something_else(saved, tmp_path, manifest):
    path = rewrite(saved, tmp_path / "x.modules", manifest=manifest)
    with pytest.raises(ValueError, match="module file"):
        mk.load_modules(path)


def test_manifest_that_does_not_fit_the_arrays(saved, tmp_path):
    manifest = manifest_of(saved, activations=["first", "second", "third"])
    path = rewrite(saved, tmp_path / "x.modules", manifest=manifest)
    with pytest.raises(ValueError, match="module file"):
        mk.load_modules(path)


def test_keras_file_is_no_module_file(modules, tmp_path):
    path = tmp_path / "model.keras"
    modules.model.save(path)
    with pytest.raises(ValueError, match="module file"):
        mk.load_modules(path)


def test_newer_version(saved, tmp_path):
    manifest = manifest_of(saved, version=archive.VERSION + 1)
    path = rewrite(saved, tmp_path / "x.modules", manifest=manifest)
    with pytest.raises(ValueError, match=rf"(?s)version {archive.VERSION} or older.*Upgrade"):
        mk.load_modules(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.modules"):
        mk.load_modules(tmp_path / "nowhere.modules")


def test_nothing_in_the_file_is_pickled(saved, tmp_path):
    with zipfile.ZipFile(saved) as archive:
        archive.extract("arrays.npz", tmp_path)
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype == np.int64 for name in arrays.files)


def test_pickled_array_is_refused(saved, tmp_path):
    np.savez(tmp_path / "arrays.npz", activation_0=np.array([print], dtype=object))
    arrays = (tmp_path / "arrays.npz").read_bytes()
    path = rewrite(saved, tmp_path / "x.modules", arrays=arrays)
    with pytest.raises(ValueError, match="pickle"):
        mk.load_modules(path)


# ---------------------------------------------------------------------------------- overwriting


def test_existing_file_is_kept(modules, tmp_path):
    path = tmp_path / "x.modules"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        modules.save(path)
    assert path.read_text() == "mine"


def test_overwriting_replaces_the_file(modules, tmp_path):
    path = tmp_path / "x.modules"
    modules.save(path)
    modules.with_threshold(0.2).save(path, overwrite=True)
    assert mk.load_modules(path).threshold == 0.2
    assert list(tmp_path.iterdir()) == [path]


def test_crash_while_writing_leaves_the_old_file(modules, tmp_path, monkeypatch):
    path = tmp_path / "x.modules"
    modules.save(path)
    old = path.read_bytes()

    def crash(*arguments, **keywords):
        raise OSError("No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "write", crash)
    with pytest.raises(OSError, match="No space left"):
        modules.with_threshold(0.2).save(path, overwrite=True)
    monkeypatch.undo()
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    assert mk.load_modules(path).threshold == 0.6
