#!/usr/bin/env bash
# The wheel in an empty environment: built, installed with the core's packages only, used offline, as a user would.
# PYTHON names the interpreter; what pip downloads stays in its cache.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" -m venv "$folder/venv"
pip() { "$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }
# Built from a copy: setuptools leaves folders behind, and would pack what an earlier build has left.
mkdir "$folder/source" "$folder/work"
cp -r astro_gan pyproject.toml README.md LICENSE "$folder/source"
pip wheel --no-deps --wheel-dir "$folder" "$folder/source"
# The lock's versions, as in `make test`.
pip install --constraint requirements.txt "$folder"/astro_gan-*.whl
du -sm "$folder/venv" | awk '{ print "core environment: " $1 " MiB" }'

cd "$folder/work"  # not the checkout: what runs is what the wheel holds
export HOME="$folder/work" JAX_PLATFORMS=cpu
export http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 no_proxy=  # nothing may be downloaded from here on
astro_gan="$folder/venv/bin/astro-gan"
"$folder/venv/bin/python" - <<'PY'
import numpy as np
from astropy.io import fits
from PIL import Image

rng = np.random.default_rng(0)
y, x = np.mgrid[:64, :80]
blob = np.exp(-((x - 40.0) ** 2 + (y - 30.0) ** 2) / 60)
Image.fromarray((40 + 200 * blob).astype(np.uint8)).save('galaxy.png')
frame = (100 + 5000 * blob + rng.normal(0, 5, blob.shape)).astype(np.float32)
fits.PrimaryHDU(frame).writeto('frame.fits')
PY
"$astro_gan" models
"$astro_gan" models wdsr_x2 > card.txt
for command in upscale colorize enhance; do
    "$astro_gan" "$command" galaxy.png frame.fits -o "$command"
done
"$astro_gan" export wdsr_x2 -o exported
"$folder/venv/bin/python" - <<'PY'
import importlib.util

import numpy as np
from astropy.io import fits
from PIL import Image

# Of 64 x 80: what becomes of the picture, and of the frame, which the model for frames enlarges twice.
sizes = {'upscale': ((256, 320), (128, 160)), 'colorize': ((64, 80), (3, 64, 80)), 'enhance': ((256, 320), (3, 256, 320))}
for command, (size, shape) in sizes.items():
    with Image.open(f'{command}/galaxy.png') as picture:
        assert picture.size[::-1] == size, (command, picture.size)
        assert np.asarray(picture).max() > 200, command
    frame = fits.getdata(f'{command}/frame.fits')
    assert frame.shape == shape, (command, frame.shape)
    assert np.isfinite(frame).all(), command
    assert 4000 < frame.max() < 8000, (command, frame.max())
for module in ('tensorflow', 'tensorflow_datasets', 'clu', 'pyvo', 'tensorboard', 'matplotlib', 'skimage'):
    assert importlib.util.find_spec(module) is None, f'the core brings {module}'
PY
# A command whose extra is missing says which in one line.
for line in 'dataset build .' 'curate . -o curated' 'fetch press -o press' 'export wdsr_x2 --format savedmodel -o saved' \
    'export wdsr_x2 --format onnx -o onnx' 'upscale galaxy.png -o beam --beam_runner DirectRunner'; do
    # shellcheck disable=SC2086 (words)
    if "$astro_gan" $line > out.txt 2> error.txt; then echo "astro-gan $line: did not fail"; exit 1; fi
    [ "$(wc -l < error.txt)" = 1 ] && grep -E "^error: .* needs .*: pip install 'astro_gan\[(data|onnx|beam)\]'$" error.txt ||
        { echo "astro-gan $line: no line about an extra, but:"; cat error.txt; exit 1; }
done
echo 'the wheel works in an empty environment'
