import pytest

from isometry.experiments.engine.runs import RunConfig
from isometry.experiments.profiles import studies
from isometry.experiments.tasks import run_task, tasks


def test_a_task_does_what_its_config_says(tmp_path):
    config = studies("smoke", ["digits"], only=["matrices"])[0].configs[0]
    outcome, again = (run_task(config, tmp_path) for _ in range(2))
    assert outcome.results == again.results == tasks()[config.task](config, tmp_path).results


def test_an_unknown_task_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`task` is 'trainin'; .* Did you mean 'training'\?"):
        run_task(RunConfig("trainin", 0, {}), tmp_path)
