#!/usr/bin/env bash
# soundfile 0.14 writes Ogg Vorbis or MP3 into a file object that fails (a full disk, say) and returns as if all were
# well: the file is cut and no exception arrives. For WAV and FLAC an AssertionError arrives in place of the object's own
# OSError. A KeyboardInterrupt that is raised inside the object's write is lost in the same way.
#
# libsndfile calls write through a callback of cffi, which prints an exception of Python and goes on with 0 bytes.
# libsndfile's encoders of Vorbis and MP3 do not report that fewer bytes were taken than given.
#
# Guess before Ctrl-C was seen to have no effect: what the object's write raises arrives at the caller of soundfile.write, in every format.
# Seen with: soundfile 0.14.0 (libsndfile 1.2.2), cffi 2.1.1, numpy 2.4.6, Python 3.11.
# Source: found while looking for the reason why Ctrl-C had no effect while MP3 was encoded.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 soundfile==0.14.0 cffi==2.1.1
cat > "$work/show.py" <<'PY'
import io

import cffi
import numpy as np
import soundfile

SOUND = 0.1 * np.random.default_rng(0).standard_normal(200_000)
ROOM = 20_000


class Full(io.BytesIO):
    """Has room for 20,000 bytes; then its write raises."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, data):
        if self.tell() + len(data) > ROOM:
            raise self.error
        return super().write(data)


seen = {}
for format, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")):
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        file = Full(error)
        try:
            soundfile.write(file, SOUND, 44100, format=format, subtype=subtype)
            outcome = "returned"
        except BaseException as raised:
            outcome = f"raised {type(raised).__name__}"
        seen[format, type(error).__name__] = outcome
        print(f"{format}: write raised {type(error).__name__}, soundfile.write {outcome}, {len(file.getvalue())} bytes")
print(f"soundfile {soundfile.__version__}, libsndfile {soundfile.__libsndfile_version__}, cffi {cffi.__version__}")
for (format, _), outcome in seen.items():
    assert outcome == ("returned" if format in ("OGG", "MP3") else "raised AssertionError"), (format, outcome)
PY
"$work/venv/bin/python" "$work/show.py" 2>/dev/null
