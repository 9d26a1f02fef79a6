#!/usr/bin/env bash
# soundfile 0.14 (libsndfile): the same float samples, written twice as a 32-bit float WAV, are two different files when a
# second lies between the writes. libsndfile adds a PEAK chunk with the time of writing, which 16-bit files do not have.
# So a hash of such files tells copies of one sound apart, and what is derived from the hash (a split into training and
# validation, a cache's key) changes when the same script writes its files again.
#
# Guess before the run: the same bytes, as a WAV file has no date; the two are written by one process from one array.
# Seen with: soundfile 0.14.0, numpy 2.4.6, Python 3.11.
# Source: two runs of a training on files of one script, whose splits differed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check soundfile==0.14.0 numpy==2.4.6
cat > "$work/show.py" <<'PY'
import time

import numpy as np
import soundfile

print("soundfile", soundfile.__version__, soundfile.__libsndfile_version__)
samples = np.linspace(-0.5, 0.5, 1000, dtype=np.float32)
for subtype in ("FLOAT", "PCM_16"):
    written = []
    for name in ("a.wav", "b.wav"):
        soundfile.write(name, samples, 16000, subtype=subtype)
        with open(name, "rb") as file:
            written.append(file.read())
        time.sleep(1.1)
    one, two = written
    differing = [at for at in range(len(one)) if one[at] != two[at]]
    chunk = one.find(b"PEAK")
    where = f"bytes {differing[0] - chunk} to {differing[-1] - chunk} of the PEAK chunk" if differing else "none"
    print(f"{subtype}: {'the same bytes' if one == two else 'other bytes'}, differing: {where}")
PY
cd "$work"
seen=$("$work/venv/bin/python" show.py)
printf '%s\n' "$seen"
grep -Eq '^FLOAT: other bytes, differing: bytes 1[2-5] to 1[2-5] of the PEAK chunk' <<<"$seen"
grep -q '^PCM_16: the same bytes' <<<"$seen"
