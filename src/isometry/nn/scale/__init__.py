"""Per-block numbers at any size: reverse products alone, each rank its own part, one reduction."""
