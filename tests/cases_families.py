"""Small transformers of many families, built offline at their own initialisation."""

import torch

VOCABULARY = 50
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": VOCABULARY}
SMALL = IDS | {
    "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
}  # fmt: skip
GROUPED = SMALL | {"num_key_value_heads": 2}
HEADS = GROUPED | {"head_dim": 12}
OLD = IDS | {"n_embd": 48, "n_head": 4, "n_layer": 4}
BOTH = IDS | {
    "d_model": 48, "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96,
    "max_position_embeddings": 64,
}  # fmt: skip
T5 = IDS | {
    "d_model": 48, "d_kv": 12, "d_ff": 96, "num_layers": 3, "num_heads": 4,
    "decoder_start_token_id": 0,
}  # fmt: skip
SIGHT = {
    "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
TOKENS = {
    "GPT2": OLD, "GPTBigCode": OLD, "GPTJ": OLD | {"rotary_dim": 4}, "GPTNeoX": SMALL,
    "CodeGen": OLD | {"rotary_dim": 4}, "CTRL": OLD | {"dff": 96}, "Persimmon": SMALL,
    "Bloom": IDS | {"hidden_size": 48, "n_layer": 4, "n_head": 4},
    "OPT": SMALL | {"ffn_dim": 96, "word_embed_proj_dim": 48},
    "Falcon": IDS | {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4},
    "Llama": GROUPED, "Mistral": GROUPED, "Qwen2": GROUPED, "Qwen3": HEADS, "Phi3": GROUPED,
    "Olmo": GROUPED, "Olmo2": GROUPED, "Cohere": GROUPED, "Starcoder2": GROUPED, "Glm": HEADS,
    "Granite": GROUPED, "SmolLM3": GROUPED, "Nemotron": GROUPED, "Gemma": HEADS, "Gemma2": HEADS,
    "StableLm": GROUPED | {"partial_rotary_factor": 0.5}, "Phi": SMALL, "BioGpt": SMALL,
    "Mixtral": GROUPED | {"num_local_experts": 4},
    "Olmoe": GROUPED | {"num_experts": 4, "num_experts_per_tok": 2},
    "Bert": SMALL, "Roberta": SMALL, "Electra": SMALL | {"embedding_size": 48}, "MPNet": SMALL,
    "Albert": SMALL | {"embedding_size": 24}, "SqueezeBert": SMALL | {"embedding_size": 48},
    "DistilBert": {"dim": 48, "hidden_dim": 96, "n_layers": 4, "n_heads": 4} | IDS,
    "ModernBert": SMALL | {"cls_token_id": 1, "sep_token_id": 2}, "FNet": SMALL,
    "XLNet": IDS | {"d_model": 48, "n_layer": 4, "n_head": 4, "d_inner": 96},
    "Mamba": IDS | {"hidden_size": 48, "num_hidden_layers": 4, "state_size": 8},
    "Rwkv": IDS | {"hidden_size": 48, "num_hidden_layers": 4, "attention_hidden_size": 48},
    "Bart": BOTH, "MBart": BOTH, "T5": T5, "MT5": T5,
}  # fmt: skip
IMAGES = {
    "ViT": SIGHT, "DeiT": SIGHT, "Beit": SIGHT, "SiglipVision": SIGHT,
    "Dinov2": {k: v for k, v in SIGHT.items() if k != "intermediate_size"},
    "Swin": {"image_size": 32, "patch_size": 2, "embed_dim": 12, "depths": [2, 2],
             "num_heads": [2, 4], "window_size": 4},
    "ConvNext": {"hidden_sizes": [12, 24, 48, 96], "depths": [2, 2, 2, 2]},
    "ResNet": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 2]},
}  # fmt: skip
FAMILIES = [*TOKENS, *IMAGES]


def family(name):
    """Return a model of a family and an input."""
    import transformers

    table = TOKENS | IMAGES
    config = getattr(transformers, f"{name}Config")(**table[name])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}Model")(config)
    ids = torch.arange(16).reshape(2, 8)
    if name in IMAGES:
        return model, torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return model, {"input_ids": ids, "decoder_input_ids": ids} if name in ("T5", "MT5") else ids
