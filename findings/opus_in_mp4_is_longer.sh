#!/usr/bin/env bash
# Two seconds encoded as Opus come back as 96,000 samples from WebM, Matroska and Ogg, and as 96,648 from MP4: what pads
# the last packet is decoded too. A length measured on decoded MP4 files is up to one packet (20 ms) too long.
#
# Guess before running: the four containers of one encoded track decode to the same number of samples.
# Seen with: PyAV 17.0.0 and 18.1.0, numpy 2.4.6, Python 3.11.
# Source: none found; WebM has DiscardPadding and Ogg a final granule position for it, MP4 an edit list.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 av==18.1.0
"$work/venv/bin/python" - "$work" <<'PY'
import sys
from pathlib import Path

import av
import numpy as np

rate = 48000
samples = (0.1 * np.random.default_rng(0).standard_normal((1, 2 * rate))).astype(np.float32)
found = {}
for container in ("webm", "mkv", "ogg", "mp4"):
    path = str(Path(sys.argv[1]) / f"noise.{container}")
    with av.open(path, "w") as output:
        track = output.add_stream("libopus", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for packet in [*track.encode(frame), *track.encode(None)]:
            output.mux(packet)
    with av.open(path) as source:
        found[container] = sum(frame.samples for frame in source.decode(audio=0))
print(f"PyAV {av.__version__}, numpy {np.__version__}, samples decoded of {samples.shape[1]}:", found)
assert found == {"webm": 96000, "mkv": 96000, "ogg": 96000, "mp4": 96648}, found
PY
