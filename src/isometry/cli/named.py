"""Models that a package knows by name, as ``hf:gpt2``, ``timm:resnet18``, ``torchvision:vit_b_16``.

Nothing is downloaded: the architecture is built with fresh weights, in float32 and in eval mode,
and no code of a configuration's own is run. None of the packages is a dependency.
"""

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isometry._checks import suggest


def named_model(reference: str) -> nn.Module | None:
    """Build the model that ``package:name`` stands for.

    Args:
        reference: ``hf:`` with a local config.json, its folder or a model type such as "gpt2";
            ``timm:`` or ``torchvision:`` with a name of their lists.

    Returns:
        The model with the weights that the package draws, with seed 0; None for other references.

    Raises:
        ImportError: If the package is not installed.
        FileNotFoundError: If there is no such configuration.
        ValueError: If the package does not know the name, or a configuration cannot be read.
    """
    package, _, name = reference.partition(":")
    build = _BUILDERS.get(package)
    if build is None:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(name).eval()


def hf_config(name: str) -> Any:
    """Return the configuration that stands behind ``hf:``.

    Args:
        name: A local config.json or the folder that holds one, or a model type, which has its
            default configuration.

    Raises:
        ImportError: If transformers is not installed.
        FileNotFoundError: If the file, or config.json in the folder, does not exist.
        ValueError: If the type is unknown or the file is no configuration.
    """
    _package("hf", name, "transformers")
    known = importlib.import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    path = Path(name)
    if path.suffix != ".json" and not path.is_dir():
        _check_known("hf", name, known.keys(), "a model type, or a local config.json")
        return known[name]()
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"`MODEL` is 'hf:{name}' but there is no file {file}.")
    generic = importlib.import_module("transformers").PretrainedConfig
    try:
        content, _ = generic.get_config_dict(str(file.absolute()), local_files_only=True)
        return known[content["model_type"]].from_dict(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"`MODEL` is 'hf:{name}', whose {file} is no configuration that transformers can read "
            f"({type(error).__name__}: {error}); expected one with a known `model_type`."
        ) from error


def _hf(name: str) -> nn.Module:
    """Build the class that a configuration names first, or the bare model of its type."""
    config = hf_config(name)
    transformers = importlib.import_module("transformers")
    named = getattr(transformers, (config.architectures or [""])[0], None)
    if named is not None:
        return named(config).float()
    return transformers.AutoModel.from_config(config, dtype=torch.float32)


def _timm(name: str) -> nn.Module:
    package = _package("timm", name, "timm")
    _check_known("timm", name, package.list_models(), "a name of `timm.list_models()`")
    return package.create_model(name, pretrained=False)


def _torchvision(name: str) -> nn.Module:
    models = _package("torchvision", name, "torchvision.models")
    _check_known("torchvision", name, models.list_models(), "a name of its `list_models()`")
    return models.get_model(name, weights=None)


_BUILDERS: dict[str, Callable[[str], nn.Module]] = {
    "hf": _hf,
    "timm": _timm,
    "torchvision": _torchvision,
}


def _package(prefix: str, name: str, module: str) -> Any:
    """Import the package that knows the name.

    Raises:
        ImportError: If it is not installed.
        ModuleNotFoundError: If it is, but misses another one.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(
            f"`MODEL` is '{prefix}:{name}', which needs {package}; run `pip install {package}`."
        ) from None
    return importlib.import_module(module)


def _check_known(prefix: str, name: str, known: Iterable[str], expected: str) -> None:
    """Refuse a name that the package does not know.

    Raises:
        ValueError: If it is not in the list.
    """
    names = list(known)
    if name not in names:
        raise ValueError(
            f"`MODEL` is '{prefix}:{name}'; expected {expected}.{suggest(name, names)}"
        )
