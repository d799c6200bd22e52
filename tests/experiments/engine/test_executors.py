import importlib.util
import sys
from functools import partial

import pytest

from cases_runs import contents
from isometry.experiments.engine.executors import SerialExecutor, open_executor
from isometry.experiments.engine.sweeps import sweep
from isometry.experiments.profiles import studies
from isometry.experiments.tasks import run_task


def some_configs():
    chosen = studies("smoke", ["digits"])
    return [study.configs[0] for study in chosen]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"kind": "proces"}, r"`kind` is 'proces'; expected one of .* Did you mean 'process'\?"),
        ({"workers": 0}, "`workers` is 0; expected an integer >= 1"),
        ({"kind": "serial", "address": "tcp://x"}, "`address` is .*; expected none for 'serial'"),
    ],
)
def test_a_wrong_executor_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text), open_executor(**arguments):
        pass


def test_the_serial_executor_returns_futures():
    with SerialExecutor() as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
        assert isinstance(executor.submit(divmod, 7, 0).exception(), ZeroDivisionError)
        assert list(executor.map(abs, [-1, 2])) == [1, 2]


@pytest.mark.parametrize(("kind", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_engine_is_asked_for(monkeypatch, kind, module):
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(
            ImportError, match=rf"needs {module}; run `pip install 'isometry\[{kind}\]'`"
        ),
        open_executor(kind),
    ):
        pass


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("default")  # of the engines' own making
@pytest.mark.parametrize(
    ("kind", "module"), [("process", "concurrent"), ("dask", "distributed"), ("ray", "ray")]
)
def test_every_executor_computes_the_same_bits(tmp_path, kind, module):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    for name in ("serial", kind):
        opened = partial(open_executor, name, 2)
        report = sweep(some_configs(), tmp_path / name, run_task, open_executor=opened)
        assert (report.made, report.failed) == (len(some_configs()), {})
    assert contents(tmp_path / "serial") == contents(tmp_path / kind)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("default")
def test_a_dask_scheduler_is_found_at_its_address(tmp_path):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    )
    with cluster, open_executor("dask", address=cluster.scheduler_address) as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("default")
def test_ray_takes_built_in_functions_and_lambdas():
    pytest.importorskip("ray")
    with open_executor("ray", 1) as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
        assert executor.submit(lambda: 5).result() == 5
