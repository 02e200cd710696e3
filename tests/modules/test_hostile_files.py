"""Damaged and malicious module files are refused in words, before they cost anything."""

import collections
import io
import json
import os
import pickle
import sys
import zipfile

import h5py
import hostile_files as hostile
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from small_models import inputs_of, mlp, random_modules

import moda_keras as mk
from moda_keras.modules.checked_files.model_work import work_of

MIB = 2**20


@pytest.fixture(scope="module")
def goods(tmp_path_factory):
    return hostile.good_files(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def good(goods):
    """A file with counts of 4 samples of each of 3 classes."""
    return goods[0]


@pytest.fixture
def refuse(tmp_path):
    """Loads content that must be refused, and gives the error."""

    def load(content, **options):
        path = tmp_path / "hostile.modules"
        path.write_bytes(content)
        with pytest.raises(mk.ModuleFileError) as caught:
            mk.load_modules(path, **options)
        message = str(caught.value)
        assert caught.value.path == str(path) and "hostile.modules" in message
        assert caught.value.reason and message.isprintable() and len(message) < 1500
        return message

    return load


# -------------------------------------------------------------------------------- many variants


def test_variants_are_refused_or_sound(goods, tmp_path):
    outcomes = collections.Counter()
    for index in range(200):
        kind, content = hostile.variant(index, goods)
        word, details = hostile.outcome_of(content, tmp_path / "v.modules")
        assert word in ("loaded", "refused"), (index, kind, word, details)
        outcomes[word] += 1
    # Some damage is none: other weights, a config with another name.
    assert outcomes["refused"] > 120 and outcomes["loaded"] > 10


@pytest.mark.skipif(os.environ.get("MODA_KERAS_NIGHTLY") != "1", reason="takes minutes")
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_ten_thousand_variants_with_a_memory_limit():
    for index, kind, word, details, seconds, size in hostile.run(10_000):
        assert word in ("loaded", "refused"), (index, kind, word, details)
        assert seconds < hostile.MOST_SECONDS and size < hostile.MOST_BYTES, (index, kind, details)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=300), place=st.sampled_from(hostile.NAMES))
def test_any_bytes(goods, tmp_path_factory, content, place):
    path = tmp_path_factory.getbasetemp() / "v.modules"
    whole = hostile.with_members(goods[0], **{place.replace(".", "__"): content})
    for each in (content, whole):
        assert hostile.outcome_of(each, path)[0] == "refused"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
ENTRIES = (
    "format version content activations class_names threshold epsilons criterion subtask model "
    "keras_version"
)


@settings(max_examples=80, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from(ENTRIES.split()), JSON, min_size=1, max_size=2),
    number=st.integers(0, 2),
)
def test_any_manifest(goods, tmp_path_factory, changes, number):
    path = tmp_path_factory.getbasetemp() / "v.modules"
    content = hostile.with_manifest(goods[number], **changes)
    assert hostile.outcome_of(content, path)[0] in ("loaded", "refused")


TABLES = arrays_of.arrays(
    st.one_of(arrays_of.scalar_dtypes(), arrays_of.integer_dtypes(), arrays_of.floating_dtypes()),
    st.sampled_from([(3, 6), (3, 5), (3,), (), (3, 0), (2, 6)]),
)


@settings(max_examples=80, deadline=None)
@given(table=TABLES, name=st.sampled_from(["activation_0", "sample_counts", "importance_1"]))
def test_any_table(goods, tmp_path_factory, table, name):
    path = tmp_path_factory.getbasetemp() / "v.modules"
    content = hostile.with_arrays(goods[2], **{name: table})
    assert hostile.outcome_of(content, path)[0] in ("loaded", "refused")


# ---------------------------------------------------------------------------------------- bombs


def zeros(count, name="activation_0.npy"):
    """An .npz file whose table is all zeros and takes a thousandth of its size."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.zeros((3, count), "int8"))
    return hostile.archive_of({name: buffer.getvalue()}, zipfile.ZIP_DEFLATED)


def test_archive_in_an_archive(good, refuse):
    """Compressed twice, 20 kB are 30 MB here, and 7 kB were 7.5 GB."""
    members = hostile.members_of(good) | {"arrays.npz": zeros(10 * MIB)}
    content = hostile.archive_of(members, zipfile.ZIP_DEFLATED)
    message = hostile.assert_cheap(lambda: refuse(content, max_bytes=20 * MIB))
    assert "unpack to 31,457,4" in message and "pass a higher `max_bytes`" in message


def test_small_table_that_is_large_in_memory(good, refuse):
    """Counts are 64-bit numbers in memory, whatever they are in the file."""
    members = hostile.members_of(good) | {"arrays.npz": zeros(MIB)}
    del members["model.keras"]
    manifest = json.loads(members["manifest.json"]) | {"content": "units", "activations": ["first"]}
    members["manifest.json"] = json.dumps(manifest)
    content = hostile.archive_of(members, zipfile.ZIP_DEFLATED)
    assert "its arrays take 25,165,824 bytes" in refuse(content, max_bytes=20 * MIB)


def test_manifest_of_spaces(good, refuse):
    members = hostile.members_of(good)
    members["manifest.json"] = members["manifest.json"] + b" " * 20 * MIB
    content = hostile.archive_of(members, zipfile.ZIP_DEFLATED)
    message = hostile.assert_cheap(lambda: refuse(content))
    assert "its 'manifest.json' has 20,97" in message


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (b"[" * 200_000, "no JSON"),
        (b"[" * 101 + b"]" * 101, "nested deeper than 100"),
        (b"[" + b"[]," * 10**6 + b"[]]", "values, over the limit"),
        (b"9" * 10**5, "no JSON"),
        (b'{"a": 1, "a"', "no JSON"),
    ],
)
def test_manifest_that_is_a_bomb_of_json(good, refuse, manifest, reason):
    assert reason in hostile.assert_cheap(
        lambda: refuse(hostile.with_members(good, manifest__json=manifest))
    )


def test_something_before_the_archive(good, refuse):
    assert "before its first member" in refuse(b"#!/bin/sh\n" + good)
    model = b"x" * 1000 + hostile.members_of(good)["model.keras"]
    assert "before its first member" in refuse(hostile.with_members(good, model__keras=model))


def layer_of(content, **changes):
    config = hostile.config_of(content)
    layer = config["config"]["layers"][1]
    layer["config"] |= changes
    return config, layer


def test_config_of_a_huge_layer(good, refuse):
    config, _ = layer_of(good, units=10**8)
    message = hostile.assert_cheap(lambda: refuse(hostile.with_config(good, config)))
    assert "the weights of its model take" in message or "expected axis -1" in message
    # The huge layer is the last one, so that the whole model can be built.
    config["config"]["layers"] = config["config"]["layers"][:2]
    message = hostile.assert_cheap(lambda: refuse(hostile.with_config(good, config)))
    assert "the weights of its model take 2,000,000,000 bytes" in message
    # Nothing of it is left to be made later.
    hostile.assert_cheap(lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]))


@pytest.mark.parametrize("layers", [5_000, 20_000])
def test_config_of_many_layers(good, refuse, layers):
    config, layer = layer_of(good)
    short = {key: layer[key] for key in ("module", "class_name")} | {"config": {"units": 6}}
    short["inbound_nodes"] = [[]]  # which only functional models have
    config["config"]["layers"][1:1] = [short] * layers
    message = hostile.assert_cheap(lambda: refuse(hostile.with_config(good, config)))
    assert "over the limit of 5,000 and 30,000" in message
    assert f"has {layers + 4:,} layers" in message


def config_of(model):
    return keras.saving.serialize_keras_object(model)


def test_work_counts_calls_of_models_within_models():
    def sequential():
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(4)])

    # 3 + 2 + 1 calls, for inputs count too, and a call of a model is one of each of its layers.
    assert work_of(config_of(sequential())) == (3, 3 + 2 + 1)
    outer = keras.Sequential([keras.Input((4,)), sequential(), sequential()])
    assert work_of(config_of(outer)) == (7, 3 + (2 + 1) * 3 + 2 * 6)
    inputs, shared = keras.Input((4,)), sequential()
    twice = keras.Model(inputs, shared(shared(inputs)))
    assert work_of(config_of(twice)) == (5, 1 + 2 * 3 + 6)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip", "chunks": (10**6,)},
        {"chunks": (10**6,), "fillvalue": 1.0},
        {},
    ],
)
def test_weights_that_are_larger_than_the_file(good, refuse, options):
    def change(file):
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (10**9,), "float32", **options)

    content = hostile.with_weights(good, change)
    assert len(content) < MIB
    assert "its weights take 4,000,000," in hostile.assert_cheap(lambda: refuse(content))


def test_chunk_that_is_larger_than_its_weights(good, refuse):
    def change(file):
        del file["layers/dense/vars/0"]
        file.create_dataset(
            "layers/dense/vars/0", (4, 6), "f4", chunks=(10**4, 10**5), maxshape=(None, None)
        )

    assert "its weights take 4,000,000," in refuse(hostile.with_weights(good, change))


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        (h5py.SoftLink("/"), "have a link"),
        (h5py.ExternalLink("/etc/passwd", "/"), "have a link"),
    ],
)
def test_weights_that_are_elsewhere(good, refuse, link, reason):
    def change(file):
        file["layers/other"] = link

    assert reason in refuse(hostile.with_weights(good, change))


def test_weights_in_another_file(good, refuse, tmp_path):
    (tmp_path / "secret").write_bytes(b"x" * 100)

    def change(file):
        external = [(str(tmp_path / "secret"), 0, 24)]
        file.create_dataset("layers/other", (24,), "u1", external=external)

    assert "in another file" in refuse(hostile.with_weights(good, change))


def test_archives_of_other_kinds(good, refuse):
    members = hostile.members_of(good)
    manifest = members["manifest.json"]
    assert "by the method 14" in refuse(hostile.archive_of(members, zipfile.ZIP_LZMA))
    assert "by the method 12" in refuse(hostile.archive_of(members, zipfile.ZIP_BZIP2))
    assert "there twice" in refuse(
        hostile.archive_of([*members.items(), ("manifest.json", manifest)])
    )
    for name in ("/etc/x", "a/../../x", "c:\\x", "a\x1b[31m"):
        assert "has the name" in refuse(hostile.archive_of(members | {name: b""}))
    many = {f"assets/{number}": b"" for number in range(5000)}
    assert "5,003 members" in refuse(hostile.archive_of(members | many))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (8, 1, "is encrypted"),
        (24, 10**6, "declares 1,000,000 bytes in"),
        (42, 1, "something else before"),
    ],
)
def test_table_of_contents_that_is_not_true(good, refuse, field, value, reason):
    """Of the first member: flags at byte 8 of its entry, size at 24, place at 42."""
    changed = bytearray(good)
    directory = zipfile.ZipFile(io.BytesIO(good)).start_dir
    width = 2 if field == 8 else 4
    changed[directory + field : directory + field + width] = value.to_bytes(width, "little")
    assert reason in refuse(bytes(changed))


def test_members_may_not_overlap(good, refuse):
    """The last member is where the first is."""
    changed = bytearray(good)
    place = good.rindex(b"PK\x01\x02") + 42
    changed[place : place + 4] = bytes(4)
    assert "overlaps another member" in refuse(bytes(changed))


def test_table_of_contents_is_not_read_if_it_is_huge(good, refuse):
    many = {f"assets/{number}{'x' * 200}": b"" for number in range(8000)}
    content = hostile.archive_of(hostile.members_of(good) | many)
    assert "table of contents" in refuse(content)


def test_npz_weights_are_not_read(good, refuse):
    model = hostile.members_of(good)["model.keras"]
    for changes in ({"model.weights.npz": b""}, {}):
        members = hostile.members_of(model) | changes
        weights = members.pop("model.weights.h5")
        members |= {"model.weights.h5": weights} if changes else {}
        content = hostile.with_members(good, model__keras=hostile.archive_of(members))
        assert "it has" in refuse(content)


def test_no_code_runs(good, refuse, tmp_path):
    lambdas = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x)])
    lambdas.save(tmp_path / "lambda.keras")
    model = (tmp_path / "lambda.keras").read_bytes()
    assert "safe_mode" in refuse(hostile.with_members(good, model__keras=model))
    config, layer = layer_of(good)
    layer |= {"module": "os", "class_name": "system", "config": "touch pwned"}
    refuse(hostile.with_config(good, config))
    pickled = np.array([print], dtype=object)
    assert "pickle" in refuse(hostile.with_arrays(good, activation_0=pickled))
    assert not os.path.exists("pwned")


# --------------------------------------------------------------------------------------- tables

COUNTS = np.ones((3, 6), int)


@pytest.mark.parametrize(
    "tables",
    {
        "negative": {"activation_0": -COUNTS},
        "NaN": {"activation_0": COUNTS * np.nan},
        "infinite": {"activation_0": COUNTS * np.inf},
        "more than samples": {"activation_0": COUNTS * 5},
        "fractions": {"activation_0": COUNTS / 2},
        "negative samples": {"sample_counts": np.array([4, 4, -4])},
        "infinite samples": {"sample_counts": np.array([4, 4, np.inf])},
        "huge samples": {"sample_counts": np.array([4, 4, 2**63], "uint64")},
        "samples of two dimensions": {"sample_counts": np.ones((3, 1), int)},
        "no samples": {"sample_counts": None},
        "complex": {"activation_0": COUNTS * 1j},
        "dates": {"activation_0": COUNTS.astype("M8[s]")},
        "durations": {"activation_0": COUNTS.astype("m8[s]")},
        "texts": {"activation_0": COUNTS.astype(str)},
        "one number": {"activation_0": np.array(1)},
        "one row": {"activation_0": np.ones(6, int)},
        "another number of units": {"activation_0": np.ones((3, 7), int)},
        "another number of classes": {"activation_0": np.ones((4, 6), int)},
        "no units": {"activation_0": np.ones((3, 0), int)},
        "no table": {"activation_1": None},
        "negative importance": {"importance_0": -1.0 * COUNTS},
        "NaN importance": {"importance_0": np.nan * COUNTS},
        "importance of another shape": {"importance_0": np.ones((3, 5))},
        "units that are counts": {"units_0": COUNTS},
    }.items(),
    ids=lambda item: item[0],
)
def test_tables_that_do_not_fit(goods, refuse, tables):
    refuse(hostile.with_arrays(goods[2], **tables[1]))


@pytest.mark.parametrize(
    "changes",
    [
        {"activations": ["first"]},
        {"activations": []},
        {"activations": ["second", "first"]},
        {"activations": ["first", "first"]},
        {"class_names": ["a", "b", "b"]},
        {"class_names": ["a", "b", "\x1b]0;title\x07"]},
        {"class_names": ["a", "b", "\u202etxt"]},
        {"class_names": ["a", "b", 3]},
        {"threshold": float("nan")},
        {"threshold": {"first": 0.5}},
        {"epsilons": {"first": -1.0}},
        {"epsilons": {"first": "x"}},
        {"epsilons": {"other": 0.0}},
        {"criterion": 5},
        {"subtask": [0, 3]},
        {"subtask": [0, 0]},
        {"subtask": []},
        {"subtask": "01"},
        {"version": True},
        {"version": 10**400},
        {"content": "units"},
    ],
)
def test_manifest_that_does_not_fit(goods, refuse, changes):
    number = 0 if "activations" in changes or "content" in changes else 2
    refuse(hostile.with_manifest(goods[number], **changes))


def test_classes_of_a_subtask_have_samples(goods, refuse):
    none = {f"activation_{index}": np.zeros((3, units), int) for index, units in ((0, 6), (1, 5))}
    content = hostile.with_arrays(goods[2], sample_counts=np.array([4, 4, 0]), **none)
    assert "class 2 ('2'), which had none" in refuse(content)


def test_units_alone_must_be_complete(goods, refuse):
    refuse(hostile.with_manifest(goods[1], activations=["first"]))


TABLES_OF_MLP = {"first": np.ones((3, 6), int), "second": np.ones((3, 5), int)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_counts": {"first": TABLES_OF_MLP["first"]}}, "none for 'second' instead of"),
        (
            {"activation_counts": TABLES_OF_MLP | {"third": COUNTS}},
            "for 'third', which is none of them",
        ),
        (
            {"activation_counts": TABLES_OF_MLP | {"first": np.ones((3, 7), int)}},
            r"of shape \(3, 7\) for 'first' instead of shape \(3, 6\)",
        ),
        ({"sample_counts": [4.0, 4.0, np.inf]}, r"up to 9007199254740992. Received: larger"),
        ({"importance": {"first": COUNTS}}, "`importance` to have one table"),
        ({"importance": TABLES_OF_MLP | {"first": np.nan * COUNTS}}, "finite numbers >= 0"),
        ({"importance": 1}, "`importance` to be a dict"),
        ({"epsilons": {"third": 1.0}}, r"Received: others for \['third'\]"),
        ({"epsilons": {"first": np.nan}}, r"Received: others for \['first'\]"),
        ({"class_names": ["a", "b", "c\n"]}, "without control characters"),
    ],
)
def test_counts_are_checked_against_the_model(changes, message):
    arguments = {"activation_counts": TABLES_OF_MLP, "sample_counts": [4, 4, 4]} | changes
    with pytest.raises(ValueError, match=message):
        mk.ModuleSet.from_counts(mlp(), **arguments)


def test_number_of_classes_is_that_of_the_model():
    counts = {name: table[:2] for name, table in TABLES_OF_MLP.items()}
    with pytest.raises(ValueError, match="with 3 classes"):
        mk.ModuleSet.from_counts(mlp(), counts, [4, 4])


# ------------------------------------------------------------------------------------- messages


def test_messages_are_bounded(good, refuse):
    names = [f"class {number}" * 10 for number in range(50_000)]
    message = refuse(hostile.with_manifest(good, class_names=names))
    assert "with 50000 classes" in message
    with pytest.raises(ValueError, match="and 49,980 more") as caught:
        mk.ModuleSet.from_units(mlp(), {}, class_names=names)
    assert len(str(caught.value)) < 4000


def test_warning_about_absent_classes_is_bounded():
    model = mlp(classes=230)
    with pytest.warns(UserWarning, match="and 208 more") as caught:
        mk.decompose(model, inputs_of(model, 4), np.array([0, 1, 0, 1]), verbose=0)
    assert len(str(caught[0].message)) < 500


def test_version_of_keras_that_saved_the_file_is_named(good, refuse):
    metadata = json.dumps({"keras_version": "9.8.7"})
    config, layer = layer_of(good)
    layer |= {"class_name": "DenseOfTomorrow"}
    changes = {"metadata__json": metadata, "config__json": json.dumps(config)}
    message = refuse(hostile.with_model(good, **changes))
    assert f"saved by Keras 9.8.7, this is Keras {keras.__version__}" in message
    assert "DenseOfTomorrow" in message
    content = hostile.with_arrays(good, activation_0=np.ones((3, 7), int))
    assert "written with Keras 9.8.7" in refuse(
        hostile.with_manifest(content, keras_version="9.8.7")
    )


def test_error_is_a_value_error_that_travels_between_processes(refuse):
    refuse(b"")
    error = pickle.loads(pickle.dumps(mk.ModuleFileError("all", "a.modules", "why")))
    assert isinstance(error, ValueError)
    assert (str(error), error.path, error.reason) == ("all", "a.modules", "why")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_what_the_system_says_stays(good, tmp_path):
    path = tmp_path / "mine.modules"
    path.write_bytes(good)
    path.chmod(0)
    with pytest.raises(PermissionError):
        mk.load_modules(path)


def test_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError if os.name != "nt" else PermissionError):
        mk.load_modules(tmp_path)


# ------------------------------------------------------------------------ what must go on to load


def test_limit_can_be_raised(good, tmp_path):
    path = tmp_path / "x.modules"
    path.write_bytes(good)
    with pytest.raises(mk.ModuleFileError, match="limit of 1,000"):
        mk.load_modules(path, max_bytes=1000)
    mk.load_modules(path, max_bytes=10**6)
    for wrong in (0, -1, 1.5, True, "1"):
        with pytest.raises(ValueError, match="`max_bytes` to be a positive integer"):
            mk.load_modules(path, max_bytes=wrong)


def test_compressed_archives_load(good, tmp_path):
    """As of someone who packed the file again."""
    members = hostile.members_of(good)
    model = hostile.members_of(members["model.keras"])
    members["model.keras"] = hostile.archive_of(model, zipfile.ZIP_DEFLATED)
    (tmp_path / "x.modules").write_bytes(hostile.archive_of(members, zipfile.ZIP_DEFLATED))
    assert mk.load_modules(tmp_path / "x.modules").class_names == ("0", "1", "2")


class Doubled(keras.layers.Layer):
    """Makes a weight that is no `add_weight`, which cannot be put off."""

    def build(self, shape):
        self.factor = keras.Variable(np.full((1,), 2.0, "float32"), trainable=False)

    def call(self, inputs):
        return self.factor * inputs


def test_custom_layers_of_a_scope_load(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, activation="relu"),
            Doubled(),
            keras.layers.Dense(3),
        ]
    )
    modules = random_modules(model)
    modules.save(tmp_path / "x.modules")
    with keras.saving.custom_object_scope({"Doubled": Doubled}):
        loaded = mk.load_modules(tmp_path / "x.modules")
    data = inputs_of(model, 3)
    np.testing.assert_array_equal(
        loaded.model.predict(data, verbose=0), model.predict(data, verbose=0)
    )


def test_recurrent_layers_with_a_state_load(refuse, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((4, 2), batch_size=3),
            keras.layers.LSTM(5, stateful=True),
            keras.layers.Dense(6, activation="relu", name="hidden"),
            keras.layers.Dense(3),
        ]
    )
    random_modules(model).save(tmp_path / "x.modules")
    loaded = mk.load_modules(tmp_path / "x.modules")
    assert loaded.model.layers[0].stateful
    content = (tmp_path / "x.modules").read_bytes()
    config = hostile.config_of(content)
    config["config"]["layers"][0]["config"]["batch_shape"][0] = 10**8
    message = hostile.assert_cheap(lambda: refuse(hostile.with_config(content, config)))
    assert "the weights of its model take" in message


def test_names_of_later_layers_do_not_change(good, tmp_path):
    """The check builds the model once more, which gives names to nothing."""
    (tmp_path / "x.modules").write_bytes(good)

    def next_number():
        return int(keras.layers.Dense(1).name.rpartition("_")[2])

    keras.layers.Dense(1)
    first = next_number()
    mk.load_modules(tmp_path / "x.modules")
    assert next_number() == first + 1
