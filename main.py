"""Train, evaluate or export an experiment.

python main.py --config=configs/wdsr.py [--mode=train|evaluate|export] [--workdir=DIR] [--config.KEY=VALUE ...]
"""

import os
import shlex
import sys

from astro_gan import extras

try:
    from absl import app, flags, logging
    from ml_collections import config_flags

    from experiments.settings import explain_flag_error
except ModuleNotFoundError as error:
    sys.exit(f'error: {extras.explain("main.py", error)}')

CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'Config file, with a variant after a colon: configs/wdsr.py:smoke', lock_config=True
)
MODE = flags.DEFINE_enum(
    'mode',
    'train',
    ['train', 'evaluate', 'export'],
    'train (and evaluate at the end), evaluate the best checkpoints on the test split, or export them',
)
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; default: runs/<config name>')
COORDINATOR = flags.DEFINE_string('coordinator', None, 'Several hosts: address:port of the first, the same on all')
PROCESS_COUNT = flags.DEFINE_integer('process_count', 1, 'Several hosts: how many processes take part')
PROCESS_ID = flags.DEFINE_integer('process_id', 0, 'Several hosts: the number of this process, from 0')
DEBUG = flags.DEFINE_bool('debug', False, 'Show the traceback of an error')


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser, but a wrong setting gives one line that names the valid ones."""
    try:
        rest = flags.FLAGS(argv)
        if CONFIG.value is None or not CONFIG.value.name:  # a config that failed to load says so when it is read
            raise flags.Error('--config is missing: give a file, as in --config=configs/wdsr.py')
        if len(rest) > 1:
            raise flags.Error(f'{rest[1]!r} is no flag; settings look like --config.factor=2')
        return rest
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        sys.exit(f'error: {explain_flag_error(error, argv)}')


def main(_: list[str]) -> None:
    # TensorFlow only feeds data here; without these it greets with its own lines.
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
    if not flags.FLAGS['verbosity'].present:
        logging.set_verbosity(logging.FATAL)  # Orbax tells every detail, and a full disk with a page of traceback
    # Imported here: --help and a wrong flag answer at once.
    import jax

    from astro_gan.loop import Interrupted
    from experiments import run

    workdir = os.path.expanduser(WORKDIR.value or f'runs/{CONFIG.value.name}')
    python = os.path.relpath(sys.executable)
    again = shlex.join([sys.executable if python.startswith('..') else python, *sys.argv])
    try:
        if PROCESS_COUNT.value > 1:
            jax.distributed.initialize(COORDINATOR.value, PROCESS_COUNT.value, PROCESS_ID.value)
        getattr(run, MODE.value)(CONFIG.value, workdir)
    except Interrupted as stop:
        print(f'{stop}; everything is saved. To go on: {again}', flush=True)
        sys.exit(128 + stop.signum)
    except KeyboardInterrupt:
        print(f'stopped; what was saved before is as it was. To go on: {again}', flush=True)
        sys.exit(130)
    except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: training that diverges, hosts that do not meet
        if DEBUG.value:
            raise
        sys.exit(f'error: {" ".join(str(error).split())}')


if __name__ == '__main__':
    app.run(main, flags_parser=parse_flags)
