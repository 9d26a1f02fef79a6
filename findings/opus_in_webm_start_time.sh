#!/usr/bin/env bash
# PyAV 17 gives an Opus track in WebM or Matroska a start_time of -7 (milliseconds), though the first sample that it
# decodes has the timestamp 0. Whoever counts positions as pts - start_time, as the name suggests, is 7 ms beside the
# audio after a seek. The -7 is the decoder's pre-skip (312 samples), which the decoder has already removed. In MP4 and Ogg
# the same track has 0, and so it has in WebM from PyAV 18 on.
#
# Guess before running: start_time is the timestamp of the first decoded sample, in every container and version.
# Seen with: PyAV 17.0.0 and 18.1.0, numpy 2.4.6, Python 3.11.
# Source: found by comparing stretches with whole decodes. PyAV documents start_time as the timestamp of the first frame.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6
for version in 17.0.0 18.1.0; do
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$work/av-$version" "av==$version"
done
cat > "$work/show.py" <<'PY'
import sys
from pathlib import Path

import av
import numpy as np

rate = 48000
samples = (0.1 * np.random.default_rng(0).standard_normal((1, 2 * rate))).astype(np.float32)
found = {}
for container in ("webm", "mkv", "mp4", "ogg"):
    path = str(Path(sys.argv[1]) / f"noise.{container}")
    with av.open(path, "w") as output:
        track = output.add_stream("libopus", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for packet in [*track.encode(frame), *track.encode(None)]:
            output.mux(packet)
    with av.open(path) as source:
        track = source.streams.audio[0]
        found[container] = (track.start_time, next(source.decode(track)).pts)
print(f"PyAV {av.__version__}, (start_time, first pts):", found)
early = {name: start for name, (start, _) in found.items() if start}
assert all(first == 0 for _, first in found.values()), "a first timestamp is not 0"
assert early == ({"webm": -7, "mkv": -7} if av.__version__.startswith("17.") else {}), early
PY
for version in 17.0.0 18.1.0; do
  PYTHONPATH="$work/av-$version" "$work/venv/bin/python" "$work/show.py" "$work"
done
