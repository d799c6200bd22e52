"""The studies: one module each; a run is a folder."""
