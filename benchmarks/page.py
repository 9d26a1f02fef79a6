"""The demo page in headless Chromium: seconds to the first embedding, and computing time per second of audio.

    python benchmarks/page.py BUNDLE [--rounds 3]

The page is served from this machine, without the headers that allow several threads, so it computes on one thread; a
new browser each round, and then a second visit. A minute of noise is dropped as a WAV at 32 kHz and at 44.1 kHz stereo,
then fed through a fake microphone. The result is milliseconds of the page's own processor time (its renderer process,
drawing included) per second of audio. Run nothing else meanwhile; needs Linux and Chromium. Writes results/page.csv.
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import soundfile

from provenance import provenance, write_results
from sondino import loopback
from sondino.exporters.web import export_web
from sondino.files import read_json

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers import browser

SECONDS = 60
LISTENING = 15.0


class Plain(loopback.PageHandler):
    """As any server would send the page."""

    def end_headers(self) -> None:
        """Add nothing to what every server sends."""
        SimpleHTTPRequestHandler.end_headers(self)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    chromium = browser.find()
    if chromium is None:
        sys.exit("no Chromium here")
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        export_web(given.bundle, folder / "page")
        sounds = _write_clips(folder)
        server = loopback.PageServer(0, partial(Plain, directory=str(folder / "page")))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://{loopback.HOST}:{server.server_address[1]}/"
        for number in range(given.rounds):
            for name, value in _time_page(chromium, folder / f"profile{number}", address, sounds).items():
                found.setdefault(name, []).append(value)
        server.shutdown()
    config = read_json(given.bundle / "config.json")
    about = {
        "student": config["student"],
        "width": config["width"],
        "browser": os.popen(f"{chromium} --version").read(),
    }
    about = {name: str(value).strip() for name, value in about.items()}
    write_results(
        "page",
        [
            {
                "what": name,
                "median": f"{statistics.median(values):.2f}",
                "lowest": f"{min(values):.2f}",
                "highest": f"{max(values):.2f}",
                "rounds": len(values),
                **about,
                **provenance("numpy"),
            }
            for name, values in found.items()
        ],
    )


def _write_clips(folder: Path) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    rates = {"32000 Hz": (32000, 1), "44100 Hz, stereo": (44100, 2), "microphone": (48000, 1)}
    for rate, channels in rates.values():
        samples = (0.1 * rng.standard_normal((SECONDS * rate, channels))).astype(np.float32)
        soundfile.write(folder / f"{rate}.wav", samples, rate)
    return {name: folder / f"{rate}.wav" for name, (rate, _) in rates.items()}


def _time_page(chromium: str, profile: Path, address: str, sounds: dict[str, Path]) -> dict[str, float]:
    profile.mkdir()
    flags = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={sounds['microphone']}",
    )
    found = {}
    with browser.browser(chromium, profile, *flags) as page:
        page.connect()
        page.show(1280, 800)
        for what in ("new browser", "second visit"):
            page.open("about:blank")
            page.call("Page.navigate", url=address)
            page.until("window.sondino && window.sondino.entries.length > 0")
            found[f"s to the first vector, {what}"] = page.run("performance.now()") / 1000
        page.until("performance.getEntriesByType('resource').filter(e => e.name.includes('/gallery/')).length >= 130")
        for count, name in enumerate(("32000 Hz", "44100 Hz, stereo"), start=2):
            before = _processor_ms()
            page.drop("#wave", sounds[name])
            page.until(f"window.sondino.entries.length === {count}")
            found[f"ms of work a second of sound, a file of {name}"] = (_processor_ms() - before) / SECONDS
        page.click("#listen")
        time.sleep(3)
        before = _processor_ms()
        time.sleep(LISTENING)
        found["ms of work a second of sound, microphone and drawing"] = (_processor_ms() - before) / LISTENING
        found["ms of work a second of sound, microphone, as the page tells"] = _shown(page)
    return found


def _shown(page: browser.Page) -> float:
    """Milliseconds per second of audio as the page shows them: log-mel and network."""
    return float(page.run("document.getElementById('second-cost').textContent").split()[0])


def _processor_ms() -> float:
    """Processor time so far of the renderers of all browsers."""
    ticks = 0
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and b"--type=renderer" in (process / "cmdline").read_bytes():
                numbers = (process / "stat").read_text().rpartition(")")[2].split()
                ticks += int(numbers[11]) + int(numbers[12])
        except OSError:
            continue
    return 1000 * ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
