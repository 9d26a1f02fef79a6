"""python embed.py MODEL.onnx CLIP.wav: the first five values of the clip's embedding."""

import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import, or ONNX Runtime reports to Microsoft

import onnxruntime
import soundfile

model = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
sound, rate = soundfile.read(sys.argv[2], dtype="float32", always_2d=True)
if str(rate) != (wanted := model.get_modelmeta().custom_metadata_map["sample_rate"]):
    sys.exit(f"{sys.argv[2]} is at {rate} Hz, the model expects {wanted} Hz: resample it first")
(embedding,) = model.run(["vector"], {"waveform": sound.mean(axis=1)[None]})[0]
print(*(f"{number:.6f}" for number in embedding[:5]))
