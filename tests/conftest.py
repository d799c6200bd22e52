"""Types are checked while the tests run: see `--jaxtyping-packages` in pyproject.toml.

jaxtyping opens a context for the names of axes around every function and checks the arguments
twice, which took more time than the tests themselves. A function that names no axes needs neither,
and one that does needs the context alone: beartype checks within it.
"""

import dataclasses
import functools
import gc
import inspect
import typing

import jaxtyping
from beartype import BeartypeConf, beartype

CHECK = beartype(conf=BeartypeConf(violation_type=jaxtyping.TypeCheckError))
_AS_JAXTYPING_DOES = jaxtyping.jaxtyped


def arrays(hint):
    """Return the jaxtyping arrays that are anywhere in a type."""
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return [hint]
    inner = (*typing.get_args(hint), *getattr(hint, "__constraints__", ()))
    return [array for part in inner for array in arrays(part)]


def jaxtyped(function, typechecker=None):
    """Do what `jaxtyping.jaxtyped` does, with as little as the annotations ask for."""
    if dataclasses.is_dataclass(function):
        if "__init__" in vars(function):
            function.__init__ = jaxtyped(function.__init__)
        return function
    if inspect.isclass(function):
        return function
    try:
        hints = typing.get_type_hints(function, include_extras=True).values()
    except NameError:  # a name for type checkers only
        return _AS_JAXTYPING_DOES(function, typechecker=typechecker or beartype)
    named = [array for hint in hints for array in arrays(hint)]
    if any("{" in array.dim_str for array in named):  # a size that is an argument's value
        return _AS_JAXTYPING_DOES(function, typechecker=typechecker or beartype)
    checked = CHECK(function)
    if not named:
        return checked

    @functools.wraps(function)
    def within(*args, **kwargs):
        __tracebackhide__ = True
        with _AS_JAXTYPING_DOES("context"):
            return checked(*args, **kwargs)

    return within


def _decorator(function=None, *, typechecker=None):
    if function is not None:
        return _AS_JAXTYPING_DOES(function)
    return functools.partial(jaxtyped, typechecker=typechecker)


jaxtyping.jaxtyped = _decorator


def pytest_collection_finish(session):
    """Leave out of every later collection what lives as long as the run: modules, tests, cases."""
    gc.collect()
    gc.freeze()
