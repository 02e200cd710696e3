"""Settings of experiments from YAML files and command lines, validated against the configs."""

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moda_keras.experiments.config import ExperimentConfig
from moda_keras.experiments.experiment import Experiment
from moda_keras.files import ModuleFileError, reading
from moda_keras.messages import shortened

# YAML reads `data: 7` as a number and `learning_rate: 1e-3` as a string.
MAX_BYTES = 2**18
MAX_VALUES = 100_000
MAX_DEPTH = 50
CONVERSION = {"coerce_numbers_to_str": True, "allow_inf_nan": False}


def load_settings(path: str | Path) -> dict[str, Any]:
    """Reads the settings of experiments from a YAML file.

    Args:
        path: The file. Its keys are fields of `ExperimentConfig`, for all experiments, or names of
            experiments, each with a mapping of fields of its own config.

    Returns:
        Dict, for `config_from_settings`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ModuleFileError: If it is not a YAML mapping, or too large.
        ImportError: If PyYAML is not installed.
    """
    yaml, path = _import_yaml(), Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}")
    with reading(path, "a YAML file of at most a quarter of a megabyte"):
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        text = path.read_text(encoding="utf-8")
        _require_plain(yaml.compose(text, yaml.SafeLoader))
        settings = yaml.safe_load(text)
    if not isinstance(settings, dict):
        raise ModuleFileError(
            "Expected a YAML file of settings, such as `epochs: 60`. Received: "
            f"{str(path)!r}, which holds {shortened(repr(settings), 200)}",
            path,
        )
    return settings


def _require_plain(root: Any) -> None:
    """Raises a ValueError if a YAML document is much larger than its text.

    A node that is referred to again and again counts each time: ten lines of references to ten
    references each would be ten thousand million values.

    Args:
        root: The node that `yaml.compose` returns.
    """
    sizes: dict[int, int] = {}

    def size(node: Any, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH}")
        if id(node) not in sizes:
            parts = getattr(node, "value", None)
            parts = parts if isinstance(parts, list) else []
            inner = [
                each for part in parts for each in (part if isinstance(part, tuple) else [part])
            ]
            sizes[id(node)] = 1 + sum(size(each, depth + 1) for each in inner)
        return sizes[id(node)]

    if size(root, 1) > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES:,} values")


def parse_setting(text: str) -> dict[str, Any]:
    """Reads one setting from a command line.

    Args:
        text: "key=value" or "experiment.key=value", the value in YAML. Lists may omit their
            brackets.

    Returns:
        Dict with that one setting, to be merged into those of `load_settings`.

    Raises:
        ValueError: If the text is not of that form.
        ImportError: If PyYAML is not installed.

    Examples:
        >>> from moda_keras.experiments.settings import parse_setting
        >>> parse_setting("epochs=60"), parse_setting("threshold.thresholds=0.5, 0.9")
        ({'epochs': 60}, {'threshold': {'thresholds': [0.5, 0.9]}})
    """
    yaml = _import_yaml()
    key, equals, value = text.partition("=")
    if not key.strip() or not equals:
        raise ValueError(f"Expected a setting such as `epochs=60`. Received: {text!r}")
    try:
        parsed = yaml.safe_load(f"[{value}]" if "," in value and "[" not in value else value)
    except yaml.YAMLError as error:
        raise ValueError(f"Expected a YAML value in the setting {text!r}") from error
    owner, dot, name = key.strip().partition(".")
    return {owner: {name: parsed}} if dot else {owner: parsed}


def merge_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Merges two dicts of settings; the second takes precedence.

    Args:
        first: Settings, as from `load_settings`.
        second: Settings, as from `load_settings` or `parse_setting`.

    Returns:
        A new dict.

    Raises:
        ValueError: If `threshold`, which is a field and an experiment, is used as both.
    """
    merged = dict(first)
    for key, value in second.items():
        is_own = isinstance(value, Mapping)
        if key in merged and isinstance(merged[key], Mapping) != is_own:
            raise ValueError(
                f"Expected `{key}` to be either a field of all experiments or the settings of the "
                f"experiment {key!r}. Received both: {merged[key]!r} and {value!r}"
            )
        merged[key] = {**merged.get(key, {}), **value} if is_own else value
    return merged


def config_from_settings(
    experiment: Experiment, settings: Mapping[str, Any], experiments: Mapping[str, Experiment]
) -> ExperimentConfig:
    """The config of an experiment: the paper's values, overridden by the settings.

    Args:
        experiment: The experiment.
        settings: As from `load_settings`. An experiment's own settings take precedence over those
            of all experiments.
        experiments: All experiments by name.

    Returns:
        The experiment's config.

    Raises:
        ValueError: If a key is unknown or a value is not of its field's type; names all of them.
        ImportError: If pydantic is not installed.
    """
    # `threshold` is an experiment and a field: the settings of an experiment are a mapping.
    is_own = {key: key in experiments and isinstance(settings[key], Mapping) for key in settings}
    general = {key: value for key, value in settings.items() if not is_own[key]}
    unknown = sorted(map(str, set(general) - set(_fields(ExperimentConfig))))
    if unknown:
        raise ValueError(
            f"Unknown setting. Expected fields of all experiments, {_fields(ExperimentConfig)}, or "
            f"names of experiments with a mapping of their own fields, {sorted(experiments)}. "
            f"Received: {unknown}"
        )
    own = settings[experiment.name] if is_own.get(experiment.name) else {}
    arguments = {**general, **own}
    experiment.check_names(arguments)
    return _validated(experiment.config_class, arguments)


def _fields(config_class: type[ExperimentConfig]) -> list[str]:
    return sorted(config_class.__dataclass_fields__)


def _validated(config_class: type[ExperimentConfig], arguments: dict[str, Any]) -> ExperimentConfig:
    pydantic = _import_pydantic()
    hints = typing.get_type_hints(config_class)
    values, errors = {}, []
    for name, value in arguments.items():
        adapter = pydantic.TypeAdapter(hints[name], config=CONVERSION)
        try:
            values[name] = adapter.validate_python(_prepared(value, hints[name]))
        except pydantic.ValidationError as error:
            errors += [_message(name, value, each) for each in error.errors()]
    if errors:
        raise ValueError("; ".join(errors))
    return config_class(**values)


def _prepared(value: Any, hint: Any) -> Any:
    """A single value as a list if the field is one; a bool as text, where pydantic reads 0 or 1."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    values = value if isinstance(value, (list, tuple)) else [value]
    if bool not in options and str not in options:
        values = [str(each) if isinstance(each, bool) else each for each in values]
    is_list = any(typing.get_origin(option) is tuple for option in options) and value is not None
    return values if is_list or isinstance(value, (list, tuple)) else values[0]


def _message(name: str, value: Any, error: Mapping[str, Any]) -> str:
    place = name + "".join(f"[{index}]" for index in error["loc"])
    expected = error["msg"].removeprefix("Input should be ")
    return f"Expected `{place}` to be {expected}. Received: {name}={shortened(repr(value), 300)}"


def _import_pydantic() -> Any:
    try:
        import pydantic
    except ImportError as error:
        raise ImportError(
            "Settings are validated by pydantic, which is not installed. Install it with: "
            'pip install "moda-keras[experiments]"'
        ) from error
    return pydantic


def _import_yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            "Settings are written in YAML, which needs PyYAML. Install it with: "
            'pip install "moda-keras[cli]"'
        ) from error
    return yaml
