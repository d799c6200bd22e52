"""The studies: one module each; a run is a folder."""

try:
    import torch as _torch  # noqa: F401  # pyright: ignore[reportUnusedImport]
except ImportError:
    raise ImportError(
        "`isometry.experiments` needs torch; run `pip install 'isometry[experiments]'`."
    ) from None
