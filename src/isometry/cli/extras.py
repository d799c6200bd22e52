"""Which extra brings a package that a command misses."""

_EXTRAS = {
    "torch": "nn",
    "safetensors": "nn",
    "matplotlib": "plot",
    "sklearn": "experiments",
    "PIL": "experiments",
    "threadpoolctl": "experiments",
    "distributed": "dask",
    "ray": "ray",
    "transformers": "hf",
    "mcp": "mcp",
}


def with_advice(error: ModuleNotFoundError) -> ImportError:
    """Return the error to show, with the command that installs what is missing.

    Args:
        error: What an import raised. A module that no extra brings is left as it is.

    Returns:
        The error for the user.
    """
    package = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(package)
    if extra is None:
        return error
    return ImportError(f"this command needs {package}; run `pip install 'isometry[{extra}]'`.")
