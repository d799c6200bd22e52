"""A first diagnosis, of a small GPT

A small GPT, as one would write it, from the first look to a model whose blocks carry what they
should. Nothing of the model is changed before the last step, and nothing needs training.
"""

import torch
from torch import nn

from isometry import nn as inn

VOCABULARY, TOKENS, WIDTH, LAYERS = 65, 16, 32, 6


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        split = (*x.shape[:-1], 4, WIDTH // 4)
        q, k, v = (t.view(split).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + self.out(mixed.reshape(x.shape))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(TOKENS, WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids):
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


torch.manual_seed(0)
model = GPT().eval()
ids = torch.randint(0, VOCABULARY, (1, TOKENS))

# **First: did the initialisation land?** `lint` looks at the weights. Here it finds torch's default
# everywhere, and says as a note that nothing scales with depth, which is a choice.
report = inn.lint(model, ids)
print(report)
report.plot()

# **Then: how isometric is it?** Token ids have no derivative, so the point is what the model first
# makes of them; the report says so. Read the findings first, then the table of blocks.
before = inn.diagnose(model, ids, generator=torch.Generator().manual_seed(1))
print(before)
before.plot()

# **What to do.** With torch's default all blocks carry about the same, and c is 0.2 in all. To
# start at another c, say at 1, where other depths and activations can start as well: `plan` says
# what that takes and changes nothing, `apply_` writes it.
plan = inn.plan(model, ids, c=1.0, generator=torch.Generator().manual_seed(1))
print(plan)
inn.apply_(model, plan)
after = inn.diagnose(model, ids, generator=torch.Generator().manual_seed(1))
after.plot()
for found, when in ((before, "before"), (after, "after")):
    shares = [row["share of c"] for row in found.rows()]
    print(f"{when}: c = {found.c:.2f}, shares from {min(shares):.1%} to {max(shares):.1%}")

# To send it on: `after.save_html("diagnosis.html")`, or `isometry diagnose gpt.py:make_model
# --input ids.pt --html diagnosis.html` in a shell.
assert not report.worst()
assert abs(after.c - 1) < 0.1
