"""What does it take to stream a model layer by layer? One row for each configuration.

    python benchmarks/table_streams.py [NAME ...] [--seq 64] [--layers 1 2]

Every row is one run of `isometry stream` in a process of its own: its processor seconds, its peak
memory beside that of all weights in float32, and what it found. The names are those of `CONFIGS`;
all of them without. With ``--layers`` a model has as many layers, a row for each number: what a
layer costs is the difference.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from isometry._result import format_table

CONFIGS = {
    "GPT-2": {"model_type": "gpt2"},
    "mixture, 8 experts": {
        "model_type": "mixtral", "hidden_size": 2048, "intermediate_size": 2048,
        "num_hidden_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 4,
        "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000,
    },
    "Llama-7B": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096,
        "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "vocab_size": 32000, "max_position_embeddings": 4096,
    },
}  # fmt: skip
RECIPES = {"GPT-2": "gpt2"}


def config_of(name: str, layers: int | None) -> dict[str, object]:
    """Return a configuration, of another number of layers where one is given."""
    config: dict[str, object] = dict(CONFIGS[name])
    key = "n_layer" if name == "GPT-2" else "num_hidden_layers"
    return config if layers is None else config | {key: layers}


def streamed(name: str, seq: int, layers: int | None) -> dict[str, object]:
    """Stream one model in a process of its own; return a row."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.json")
        config.write_text(json.dumps(config_of(name, layers)))
        command = [sys.executable, "-m", "isometry", "stream", f"hf:{config}", "--seq", str(seq)]
        command += ["--recipe", RECIPES.get(name, "llama"), "--json"]
        with open(Path(folder, "found.json"), "wb") as out:
            child = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(child.pid, 0)
        found = json.loads(Path(folder, "found.json").read_text())
    assert status == 0
    return {
        "model": name,
        "layers": len(found["growth"]),
        "float32 weights GB": round(4e-9 * size_of(name, layers), 2),
        "peak GB": round(used.ru_maxrss / 1e6, 2),
        "processor s": round(used.ru_utime + used.ru_stime),
        "c": round(found["c"], 3),
        "c s.e.": round(found["c_standard_error"], 3),
        "growth": round(list(found["growth"].values())[-1], 2),
    }


def size_of(name: str, layers: int | None) -> int:
    """Return the number of parameters of a model."""
    from isometry.cli.load import load_model
    from isometry.nn.scale.streaming.skeletons import skeleton

    with tempfile.TemporaryDirectory() as folder, skeleton():
        config = Path(folder, "config.json")
        config.write_text(json.dumps(config_of(name, layers)))
        return sum(p.numel() for p in load_model(f"hf:{config}").parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CONFIGS))
    parser.add_argument("--seq", type=int, default=64)
    parser.add_argument("--layers", type=int, nargs="*", default=[None])
    asked = parser.parse_args()
    cases = itertools.product(asked.names or CONFIGS, asked.layers)
    rows = [streamed(name, asked.seq, layers) for name, layers in cases]
    print(format_table(rows, markdown=True))


if __name__ == "__main__":
    main()
