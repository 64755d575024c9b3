"""Pictures in, batches out: `sources` finds and splits them, `pipeline` crops, degrades, batches."""

import os

# Before anything here imports TensorFlow, which reads these once: warnings and errors only, and no oneDNN, which saves
# nothing on single pictures, rounds differently from machine to machine and complains about uint8.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '1')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
