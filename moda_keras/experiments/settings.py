"""Settings of experiments as files and command lines give them, checked against the configs."""

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moda_keras.experiments.config import ExperimentConfig
from moda_keras.experiments.experiment import Experiment


def load_settings(path: str | Path) -> dict[str, Any]:
    """Reads the settings of experiments from a YAML file.

    Args:
        path: The file. Its keys are fields of `ExperimentConfig`, for all experiments; or names of
            experiments, each with a mapping of fields of its own config.

    Returns:
        Dict, to be given to `config_from_settings`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no YAML mapping.
        ImportError: If PyYAML is not installed.
    """
    yaml, path = _import_yaml(), Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected a YAML file. Received: {str(path)!r} ({error})") from error
    if not isinstance(settings, dict):
        raise ValueError(
            "Expected a YAML file of settings, such as `epochs: 60`. Received: "
            f"{str(path)!r}, which holds {settings!r}"
        )
    return settings


def parse_setting(text: str) -> dict[str, Any]:
    """Reads one setting as a command line gives it.

    Args:
        text: "key=value" or "experiment.key=value", the value as in YAML; lists also without
            brackets.

    Returns:
        Dict of that one setting, to be merged into those of `load_settings`.

    Raises:
        ValueError: If it is not of that form.
        ImportError: If PyYAML is not installed.

    Example:
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
    """The settings of both; where they differ those of the second.

    Args:
        first: Settings as of `load_settings`.
        second: Settings likewise.

    Returns:
        A new dict.

    Raises:
        ValueError: If `threshold`, a field and an experiment, is one here and the other there.
    """
    merged = dict(first)
    for key, value in second.items():
        is_own = isinstance(value, Mapping)
        if key in merged and isinstance(merged[key], Mapping) != is_own:
            raise ValueError(
                f"Expected `{key}` to be a field of all experiments, or else the settings of the "
                f"experiment {key!r}. Received both: {merged[key]!r} and {value!r}"
            )
        merged[key] = {**merged.get(key, {}), **value} if is_own else value
    return merged


def config_from_settings(
    experiment: Experiment, settings: Mapping[str, Any], experiments: Mapping[str, Experiment]
) -> ExperimentConfig:
    """The config of an experiment: the paper's values, the settings of all, and its own.

    Args:
        experiment: The experiment.
        settings: As of `load_settings`.
        experiments: All experiments by name.

    Returns:
        The experiment's config.

    Raises:
        ValueError: If a key or the type of a value is none that the configs know.
    """
    own = {name: value for name, value in settings.items() if _is_own(name, value, experiments)}
    general = {name: value for name, value in settings.items() if name not in own}
    known = ExperimentConfig.__dataclass_fields__
    unknown = sorted(map(str, set(general) - set(known)))
    if unknown:
        raise ValueError(
            f"Unknown setting. Expected fields of all experiments, {sorted(known)}, or names of "
            f"experiments with a mapping of their own, {sorted(experiments)}. Received: {unknown}"
        )
    arguments = {**general, **own.get(experiment.name, {})}
    hints = typing.get_type_hints(experiment.config_class)
    return experiment.config(
        **{
            name: _converted(name, value, hints[name]) if name in hints else value
            for name, value in arguments.items()
        }
    )


def _is_own(name: str, value: Any, experiments: Mapping[str, Experiment]) -> bool:
    """`threshold` is an experiment and a field: the experiment's settings are a mapping."""
    return name in experiments and isinstance(value, Mapping)


def _converted(name: str, value: Any, hint: Any) -> Any:
    """The value as the type that the config declares; a single value for a list of one."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if option is type(None):
            if value is None:
                return None
        elif typing.get_origin(option) is tuple:
            values = value if isinstance(value, (list, tuple)) else [value]
            if all(_fits(each, typing.get_args(option)[0]) for each in values):
                return tuple(typing.get_args(option)[0](each) for each in values)
        elif _fits(value, option):
            return option(value)
    raise ValueError(
        f"Expected `{name}` to be {_described(options)}. Received: {name}={value!r}, of type "
        f"{type(value).__name__}"
    )


def _fits(value: Any, kind: type) -> bool:
    if kind is str:  # class names and folders may look like numbers
        return isinstance(value, (str, int, float)) and not isinstance(value, bool)
    if kind is float and isinstance(value, str):  # YAML takes 1e-3 for a text
        try:
            return bool(value.strip()) and float(value) == float(value)
        except ValueError:
            return False
    accepted = (int, float) if kind is float else kind
    return isinstance(value, accepted) and not isinstance(value, bool)


def _described(options: tuple) -> str:
    names = [
        f"a list of {typing.get_args(option)[0].__name__}"
        if typing.get_origin(option) is tuple
        else "null"
        if option is type(None)
        else option.__name__
        for option in options
    ]
    return " or ".join(names)


def _import_yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            "Settings are written in YAML, which needs PyYAML. Install it with: "
            'pip install "moda-keras[cli]"'
        ) from error
    return yaml
