"""The report's results chapter: train, or find, every system, measure all on the same tiles, write the comparison.

    python -m experiments.study --train                                      # embedded data, without the pre-trained
    python -m experiments.study --train --astro HUBBLE --natural NATURAL     # everything
    python -m experiments.study --astro HUBBLE                               # what is there, measured again
    python -m experiments.study --train --smoke                              # tiny networks on the embedded data
    python -m experiments.study --astro HUBBLE --models wdsr_x4 runs/wdsr    # shipped models, exports, workdirs too

Folders of pictures are as for `--config.dataset.folder`; without one the embedded data are used. Every system has its
workdir in `--runs` (a training can be stopped, and goes on); its exports are what is measured. The systems and their
settings are in `systems.py`, the tables and the text in `report.py`.
"""
