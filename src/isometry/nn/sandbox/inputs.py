"""Inputs as people have them: several, by position or name; outputs of any structure."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

Key = str | int


@dataclass(frozen=True)
class Arguments:
    """What a model is called with, and which of it is the point."""

    positional: tuple[Any, ...]
    named: Mapping[str, Any]
    key: Key
    label: str
    """Name of the input that is the point."""
    alone: bool
    """Whether it is the only input."""

    @property
    def point(self) -> Any:
        """The input that is the point."""
        return self.positional[self.key] if isinstance(self.key, int) else self.named[self.key]

    def call(self, model: Callable[..., Any], point: Any) -> Any:
        """Call the model with another point; the other inputs are copies, so that they stay."""
        args, kwargs = tree_map(_held, (self.positional, dict(self.named)))
        if isinstance(self.key, int):
            args = (*args[: self.key], point, *args[self.key + 1 :])
        else:
            kwargs[self.key] = point
        return self.run(model, args, kwargs)

    def run(self, model: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call the model, and say so in a sentence where it wanted token ids and got numbers.

        Raises:
            TypeError: If the model looks floating-point numbers up in an embedding.
            RuntimeError: As the model raises it.
        """
        try:
            return model(*args, **kwargs)
        except RuntimeError as error:
            if "arguments for embedding" not in str(error):
                raise
            raise TypeError(self._no_ids()) from error

    def _no_ids(self) -> str:
        """Say which inputs are numbers where the model may have wanted token ids."""
        leaves = tree_leaves((self.positional, dict(self.named)))
        held = {str(leaf.dtype) for leaf in leaves if isinstance(leaf, Tensor)}
        kinds = " and ".join(sorted(kind.removeprefix("torch.") for kind in held))
        what = f"`{self.label}` is {kinds}" if self.alone else f"the inputs are {kinds}"
        return (
            f"{what} and the model looks numbers up in an embedding; expected token ids, of an "
            "integer type. Pass ids, e.g. `torch.randint(0, vocabulary, (1, length))`."
        )


def _held(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf


def arguments_of(model: Callable[..., Any], inputs: Any, wrt: Key | None) -> Arguments:
    """Return how the model is called with the inputs, and choose the point among them.

    Raises:
        TypeError: If there is no tensor among them.
        ValueError: If ``wrt`` is none of them.
    """
    names = _names(model)
    table: dict[Key, Any] = {}
    if isinstance(inputs, Mapping):
        table = {key: inputs[key] for key in sorted(inputs, key=_rank(names))}
        positional, named = (), dict(inputs)
    else:
        positional = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
        named = {}
        table.update(enumerate(positional))
    labels = {
        key: names[key] if isinstance(key, int) and key < len(names) else key for key in table
    }
    key = _chosen(table, labels, wrt)
    return Arguments(positional, named, key, str(labels[key]), len(table) == 1)


def _chosen(table: Mapping[Key, Any], labels: Mapping[Key, Key], wrt: Key | None) -> Key:
    """Return the key of the point: the named one, or the first tensor that is no mask.

    Raises:
        TypeError: If there is none.
        ValueError: If ``wrt`` is none of the inputs.
    """
    if wrt is not None:
        found = [key for key in table if wrt in (key, labels[key])]
        if not found:
            raise ValueError(
                f"`wrt` is {wrt!r}; expected one of the inputs, "
                f"{', '.join(map(repr, labels.values()))}."
            )
        return found[0]
    if len(table) == 1:
        return next(iter(table))
    for key, value in table.items():
        if (
            isinstance(value, Tensor)
            and value.dtype != torch.bool
            and "mask" not in str(labels[key])
        ):
            return key
    if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(dict(table))):
        kinds = ", ".join(dict.fromkeys(type(value).__name__ for value in table.values()))
        raise TypeError(
            f"`x` holds no tensor but {kinds or 'nothing'}; expected the model's inputs, a "
            f"torch.Tensor among them.{_as_tensor(next(iter(table.values()), None))}"
        )
    raise TypeError(
        "`x` holds no tensor to differentiate with respect to; expected one among the inputs. "
        "Name it with `wrt=`."
    )


def tensor_point(arguments: Arguments) -> Tensor:
    """Return the point of a pass in which nothing is differentiated: a tensor of any type.

    Raises:
        TypeError: If it is something else.
    """
    point = arguments.point
    if isinstance(point, Tensor):
        return point
    what = "is" if arguments.alone else f"holds for `{arguments.label}`"
    raise TypeError(
        f"`x` {what} a {type(point).__name__}; expected a torch.Tensor, or a tuple or dictionary "
        f"of the model's inputs.{_as_tensor(point)}"
    )


def _as_tensor(value: Any) -> str:
    """Advise how an array becomes a tensor that a model takes; nothing of what is no array."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "f":  # float64 as NumPy makes it, which few models take
        return " Pass `torch.as_tensor(x, dtype=torch.float32)`, or the type of its weights."
    return " Pass `torch.as_tensor(x)`." if kind in ("i", "u", "b") else ""


def _names(model: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(getattr(model, "forward", model)).parameters
    except (TypeError, ValueError):  # built-in functions have none
        return []
    return [p.name for p in parameters.values() if p.kind is not p.VAR_KEYWORD]


def _rank(names: list[str]) -> Callable[[Key], int]:
    return lambda key: names.index(str(key)) if key in names else len(names)


def picked(result: Any, output: Key | None) -> Any:
    """Return the tensor that is meant: the named part, or the first with floating-point entries.

    A number beside tensors, as a loss, is not what is meant.

    Raises:
        ValueError: If there is no part of that name.
    """
    if output is not None:
        parts = dict(_parts(result))
        if output not in parts:
            known = ", ".join(map(repr, parts)) or f"a {type(result).__name__} without parts"
            raise ValueError(f"`output` is {output!r}; expected one of {known}.")
        return picked(parts[output], None)
    if isinstance(result, Tensor):
        return result
    found = [leaf for leaf in _leaves(result) if leaf.is_floating_point()]
    return next((leaf for leaf in found if leaf.ndim), found[0] if found else result)


def _parts(result: Any) -> list[tuple[Key, Any]]:
    """Return the parts of an output with their keys, in their order."""
    if isinstance(result, Mapping):
        return list(result.items())
    names: Any = getattr(result, "_fields", None)
    if isinstance(result, tuple) and names:
        return [*enumerate(result), *zip(names, result, strict=True)]
    if isinstance(result, (tuple, list)):
        return list(enumerate(result))
    if is_dataclass(result):
        return [(field.name, getattr(result, field.name)) for field in fields(result)]
    return []


def _leaves(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    parts = [part for key, part in _parts(result)]
    return [leaf for part in parts for leaf in _leaves(part)]
