import torch

from cases_lint import decoder, tokens
from isometry.nn.roles.events import events
from isometry.nn.roles.follow import followed


def met(name):
    g = followed(decoder(), tokens()).graph
    node = next(g.nodes[m] for m in g.maps if g.nodes[m].applied.name == name)
    return events(g, g.consumers[node.index])


def test_what_becomes_of_a_map_is_seen():
    assert {"query", "key", "value"} <= met("layers.0.attention.qkv.weight")
    assert "gate" in met("layers.0.gate.weight")
    assert "gate" not in met("layers.0.up.weight")
    assert met("layers.0.down.weight") == {"stream"}


def test_a_choice_among_experts_is_seen():
    router = torch.nn.Linear(8, 4)

    def model(x):
        return torch.topk(torch.softmax(router(x), -1), 2)[0]

    g = followed(model, torch.randn(3, 8)).graph
    assert events(g, g.consumers[g.maps[0]]) == {"choice"}


def test_an_activation_that_multiplies_itself_is_no_gate():
    inner, outer = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

    def model(x):
        y = inner(x)
        return outer(0.5 * y * (1 + torch.tanh(y + 0.04 * y**3))) + outer(y * torch.sigmoid(y))

    g = followed(model, torch.randn(3, 8)).graph
    assert "gate" not in events(g, g.consumers[g.maps[0]])
