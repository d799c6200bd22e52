"""How runs are done: folders that are written once, claims on them, sweeps and executors."""
