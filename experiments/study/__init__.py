"""The report's results chapter: train, or find, every system, measure all on the same tiles, write the comparison.

    python -m experiments.study --train                                      # embedded data, without the pre-trained
    python -m experiments.study --train --seeds 3 --astro PRESS --natural NATURAL --published SRGAN   # everything
    python -m experiments.study --astro PRESS                               # what is there, measured again
    python -m experiments.study --train --smoke                              # tiny networks on the embedded data
    python -m experiments.study --astro PRESS --models wdsr_x4 runs/wdsr    # shipped models, exports, workdirs too

PRESS is what `python -m experiments.splits` lays out, SRGAN the weights of the published network
(docs/public_benchmarks.md). Folders of pictures are as for `--config.dataset.folder`; without one the embedded data are
used. Every system has its workdir in `--runs`, of further seeds `<system>_seed1` and so on (a training can be stopped,
and goes on); its exports are what is measured. The systems and their settings are in `systems.py`, the tables and the
text in `report.py`.
"""
