// The microphone: its samples in blocks, and a message for each reason why there is none.

import recorder from "./recorder.ts?worker&url";

export class NoMicrophone extends Error {}

export interface Microphone {
  rate: number;
  stop(): void;
}

/** Asks for the microphone, and hands each block of mono samples to `onBlock` until it is stopped. */
export async function listen(onBlock: (block: Float32Array) => void, ended: () => void): Promise<Microphone> {
  if (!window.isSecureContext || !navigator.mediaDevices) {
    throw new NoMicrophone("A browser gives the microphone to pages on https:// or on this machine only: open the page there.");
  }
  if (!("AudioWorkletNode" in window)) {
    throw new NoMicrophone("This browser cannot record from the microphone: use a newer one, or drop a file.");
  }
  const stream = await ask();
  let context: AudioContext | null = null;
  const release = () => {
    stream.getTracks().forEach((track) => track.stop());
    void context?.close();
  };
  try {
    let source: MediaStreamAudioSourceNode;
    [context, source] = connect(stream);
    await context.audioWorklet.addModule(new URL(recorder, import.meta.url).href);
    const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }: MessageEvent<Float32Array>) => onBlock(data);
    source.connect(node);
    void context.resume(); // may wait for a loudspeaker, or for ever
    stream.getAudioTracks()[0].addEventListener("ended", ended);
    return {
      rate: context.sampleRate,
      stop() {
        node.port.onmessage = null;
        release();
      },
    };
  } catch (error) {
    release();
    throw new NoMicrophone(`The microphone could not be opened (${error instanceof Error ? error.message : error}).`);
  }
}

async function ask(): Promise<MediaStream> {
  try {
    // The processing meant for calls would change the audio.
    const asIs = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    return await navigator.mediaDevices.getUserMedia({ audio: asIs });
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    if (name === "NotAllowedError" || name === "SecurityError") {
      throw new NoMicrophone("The microphone was not allowed: allow it for this page in the browser's settings, or drop a file.");
    }
    if (name === "NotFoundError" || name === "OverconstrainedError") {
      throw new NoMicrophone("There is no microphone here: plug one in, or drop a file.");
    }
    throw new NoMicrophone("The microphone could not be opened: another program may be using it.");
  }
}

/** At the microphone's own rate, and resampled by us as files are: browsers resample with a loss of 4 to 9 dB at the top. */
function connect(stream: MediaStream): [AudioContext, MediaStreamAudioSourceNode] {
  const { sampleRate } = stream.getAudioTracks()[0].getSettings();
  let context = new AudioContext(sampleRate ? { sampleRate } : {});
  try {
    return [context, context.createMediaStreamSource(stream)];
  } catch {
    void context.close();
    context = new AudioContext();
    return [context, context.createMediaStreamSource(stream)];
  }
}
