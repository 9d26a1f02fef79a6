#!/usr/bin/env bash
# FFmpeg 8 (PyAV 18) drops up to 2,047 samples at the end of ALAC in CAF that libsndfile wrote, without a warning, and
# where the length is a multiple of 4,096 the whole last packet, with an error. libsndfile reads all of it, and so did
# FFmpeg 7 (PyAV 17), whose duration was up to 4,095 samples too long instead.
#
# The packet table says how many frames the last packet falls short of 4,096. libsndfile writes a last packet that holds
# only the frames there are; FFmpeg 8 takes the shortfall off it once more, unless that is more than the packet holds.
#
# Guess before running: a lossless file that libsndfile wrote has the same number of samples in FFmpeg.
# Seen with: soundfile 0.14.0 (libsndfile 1.2.2), PyAV 17.0.0 and 18.1.0, numpy 2.4.6, Python 3.11.
# Source: found by decoding one sound from every container. Apple's specification of CAF has mRemainderFrames, the frames
# of the last packet that are not to be used, but not whether a short packet has them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 soundfile==0.14.0
for version in 17.0.0 18.1.0; do
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$work/av-$version" "av==$version"
done
cat > "$work/show.py" <<'PY'
import sys
from pathlib import Path

import av
import numpy as np
import soundfile

path = str(Path(sys.argv[1]) / "noise.caf")
lost, failed = {}, []
for size in (40959, 40960, 43000, 44100):
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(size), 44100, format="CAF", subtype="ALAC_16")
    assert len(soundfile.read(path)[0]) == size
    decoded = 0
    with av.open(path) as source:
        try:
            for frame in source.decode(audio=0):
                decoded += frame.samples
        except av.FFmpegError:
            failed.append(size)
    lost[size] = size - decoded
print(f"libsndfile {soundfile.__libsndfile_version__}, PyAV {av.__version__}, numpy {np.__version__};",
      "samples written: lost", lost, "with an error:", failed)
if av.__version__.startswith("17."):
    assert not any(lost.values()) and not failed
else:
    assert lost == {40959: 1, 40960: 4096, 43000: 0, 44100: 956} and failed == [40960]
PY
for version in 17.0.0 18.1.0; do
  PYTHONPATH="$work/av-$version" "$work/venv/bin/python" "$work/show.py" "$work"
done
