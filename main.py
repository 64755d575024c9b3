"""Train, evaluate or export an experiment, or show its settings.

python main.py --config=configs/wdsr.py [--mode=train|evaluate|export|show] [--workdir=DIR] [--config.KEY=VALUE ...]
"""

import sys

from astro_gan import extras

try:
    from absl import app, flags
    from ml_collections import config_flags

    from experiments import command
except ModuleNotFoundError as error:
    sys.exit(f'error: {extras.explain("main.py", error)}')
except KeyboardInterrupt:
    sys.exit(130)

CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'Config file, with a variant after a colon: configs/wdsr.py:smoke', lock_config=True
)
MODE = flags.DEFINE_enum(
    'mode',
    'train',
    ['train', 'evaluate', 'export', 'show'],
    'train (and evaluate at the end), evaluate the best checkpoints on the test split, export them, or show settings',
)
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; default: runs/<config name>, _<variant> after it')
PROFILE = flags.DEFINE_integer('profile', 0, 'Profile so many steps of each stage into <workdir>/profile')
COORDINATOR = flags.DEFINE_string('coordinator', None, 'Several hosts: address:port of the first, the same on all')
PROCESS_COUNT = flags.DEFINE_integer('process_count', 1, 'Several hosts: how many processes take part')
PROCESS_ID = flags.DEFINE_integer('process_id', 0, 'Several hosts: the number of this process, from 0')
DEBUG = flags.DEFINE_bool('debug', False, 'Show the traceback of an error')


def main(_: list[str]) -> None:
    command.run(
        MODE.value,
        CONFIG.value,
        WORKDIR.value or command.default_workdir(CONFIG.value, config_flags.get_config_filename(flags.FLAGS['config'])),
        profile=PROFILE.value,
        hosts=(COORDINATOR.value, PROCESS_COUNT.value, PROCESS_ID.value),
        debug=DEBUG.value,
    )


if __name__ == '__main__':
    try:
        app.run(main, flags_parser=command.parse_flags)
    except KeyboardInterrupt:  # before there is anything to say of it
        sys.exit(130)
