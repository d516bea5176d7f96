"""Studies whose tools/train.py and tools/test.py are stand-ins."""

from mmcell.studies.execution import Commands
from mmcell.studies.plan import Experiment, make_variants
from mmcell.studies.runs import plan_runs


def make_commands(folder, train, test, config):
    """Writes the sources of the two stand-ins and of the config net.py, and returns how they are started."""
    tools = folder / 'tools'
    tools.mkdir()
    (tools / 'train.py').write_text(train)
    (tools / 'test.py').write_text(test)
    (folder / 'net.py').write_text(config)
    return Commands(folder / 'study', tools)


def plan(commands, *options, seeds=(0,), **varied):
    """The runs of the config net.py with these settings."""
    experiment = Experiment(str(commands.tools.parent / 'net.py'))
    return plan_runs(make_variants([experiment], options, varied), seeds)
