// embed MODEL.onnx CLIP.wav: the first five values of the clip's embedding, by ONNX Runtime's C++ API.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

struct Sound {
  std::vector<float> samples;  // mono
  std::uint32_t rate = 0;
};

// A number at a place in a file, which has its low byte first; so has any machine that this is built for.
template <typename Number>
Number at(const std::vector<char>& bytes, std::size_t place) {
  if (place + sizeof(Number) > bytes.size()) throw std::runtime_error("the WAV file ends too early");
  Number number;
  std::memcpy(&number, bytes.data() + place, sizeof(Number));
  return number;
}

// A WAV file of 16-bit or 32-bit float samples, its channels averaged.
Sound read_wav(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be opened");
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (bytes.size() < 12 || std::memcmp(bytes.data(), "RIFF", 4) || std::memcmp(bytes.data() + 8, "WAVE", 4))
    throw std::runtime_error(path + " is no WAV file");
  Sound sound;
  std::size_t channels = 0, bits = 0, format = 0;
  for (std::size_t place = 12; place + 8 <= bytes.size();) {
    const std::string name(bytes.data() + place, 4);
    const std::size_t size = at<std::uint32_t>(bytes, place + 4), begin = place + 8;
    if (name == "fmt ") {
      format = at<std::uint16_t>(bytes, begin);
      if (format == 0xFFFE) format = at<std::uint16_t>(bytes, begin + 24);  // an extended header
      channels = at<std::uint16_t>(bytes, begin + 2);
      sound.rate = at<std::uint32_t>(bytes, begin + 4);
      bits = at<std::uint16_t>(bytes, begin + 14);
    } else if (name == "data") {
      if (channels == 0 || !((format == 1 && bits == 16) || (format == 3 && bits == 32)))
        throw std::runtime_error(path + ": only WAV files of 16-bit or 32-bit float samples are read here");
      const std::size_t frame = channels * bits / 8, end = begin + std::min(size, bytes.size() - begin);
      for (std::size_t from = begin; from + frame <= end; from += frame) {
        float sum = 0;
        for (std::size_t c = 0; c < channels; ++c)
          sum += bits == 16 ? at<std::int16_t>(bytes, from + 2 * c) / 32768.0f : at<float>(bytes, from + 4 * c);
        sound.samples.push_back(sum / static_cast<float>(channels));
      }
    }
    place = begin + size + size % 2;
  }
  if (sound.samples.empty()) throw std::runtime_error(path + " holds no sound");
  return sound;
}

// Without this setting ONNX Runtime reports to Microsoft; a user's own setting stays.
void send_no_reports() {
#ifdef _WIN32
  if (!std::getenv("ORT_DISABLE_TELEMETRY")) _putenv_s("ORT_DISABLE_TELEMETRY", "1");
#else
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
#endif
}

int main(int count, char** arguments) try {
  if (count != 3) throw std::runtime_error("usage: embed MODEL.onnx CLIP.wav");
  send_no_reports();
  Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "embed");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  const std::string file = arguments[1];
  Ort::Session model(environment, std::basic_string<ORTCHAR_T>(file.begin(), file.end()).c_str(), options);

  Sound sound = read_wav(arguments[2]);
  Ort::AllocatorWithDefaultOptions allocator;
  const auto wanted = model.GetModelMetadata().LookupCustomMetadataMapAllocated("sample_rate", allocator);
  if (wanted && std::to_string(sound.rate) != wanted.get())
    throw std::runtime_error(std::string(arguments[2]) + " is at " + std::to_string(sound.rate) +
                             " Hz, the model expects " + wanted.get() + " Hz: resample it first");

  const std::array<std::int64_t, 2> shape{1, static_cast<std::int64_t>(sound.samples.size())};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto waveform = Ort::Value::CreateTensor<float>(memory, sound.samples.data(), sound.samples.size(),
                                                        shape.data(), shape.size());
  const char* const inputs[] = {"waveform"};
  const char* const outputs[] = {"vector"};
  const auto vectors = model.Run(Ort::RunOptions{nullptr}, inputs, &waveform, 1, outputs, 1);
  const float* const vector = vectors[0].GetTensorData<float>();
  for (int i = 0; i < 5; ++i) std::printf("%s%.6f", i ? " " : "", vector[i]);
  std::printf("\n");
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
