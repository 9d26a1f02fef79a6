import { afterEach, describe, expect, test, vi } from "vitest";
import { decode } from "../src/decode";

/** A FLAC's first bytes, with 20 bits of rate in hertz from byte 18 on. */
function flac(rate: number): ArrayBuffer {
  const head = new Uint8Array(42);
  head.set([0x66, 0x4c, 0x61, 0x43, 0, 0, 0, 34]);
  head.set([rate >> 12, (rate >> 4) & 255, (rate & 15) << 4], 18);
  return head.buffer;
}

/** A browser whose contexts go up to a rate in hertz. */
function browserUpTo(highest: number): void {
  vi.stubGlobal(
    "OfflineAudioContext",
    class {
      constructor(_channels: number, _length: number, readonly sampleRate: number) {
        if (sampleRate > highest) throw new RangeError("NotSupportedError");
      }
      decodeAudioData() {
        return Promise.resolve({ sampleRate: this.sampleRate, numberOfChannels: 1, getChannelData: () => new Float32Array(8) });
      }
    },
  );
}

afterEach(() => vi.unstubAllGlobals());

describe("a compressed file is decoded", () => {
  test("at its own rate, up to ultrasound", async () => {
    browserUpTo(384000);
    for (const rate of [22050, 256000]) expect(await decode(flac(rate))).toMatchObject({ rate, notes: [] });
  });

  test("at 96 kHz, and the page says so, where the browser goes no higher", async () => {
    browserUpTo(96000);
    const { rate, notes } = await decode(flac(256000));
    expect(rate).toBe(96000);
    expect(notes).toEqual([expect.stringMatching("at 96000 Hz, not at its 256000 Hz: give a WAV")]);
  });
});
