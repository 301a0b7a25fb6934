// One token of many streams of a forecaster, with their states read and written where they are kept. What
// aaren.models.Forecaster._one_token does, which is the definition, in some fifty operations on a few numbers each.
//
// Compiled once for each instruction set, as kernel.cpp is; forecast_step_<set> is the only name that it exports.

#include "forecast.h"
#include "products.h"

#include <cmath>
#include <cstring>
#include <memory>

namespace aaren {

extern const Kernels AAREN_ISA;

namespace {

template <typename T>
T* at(char* record, int64_t place) {
  return reinterpret_cast<T*>(record + place);
}

// One channel of the running mean and deviation, as RunningNorm has it.
struct Moments {
  float mean, deviation;
};

Moments observe(const ForecastModel& m, char* record, int64_t channel, float x, bool there) {
  double& max_score = at<double>(record, m.norm.max_score)[channel];
  double& normalizer = at<double>(record, m.norm.normalizer)[channel];
  double* sums = at<double>(record, m.norm.weighted_sum) + 2 * channel;
  if (there) {
    const double aged = max_score - m.decay, value = x;
    max_score = aged > 0 ? aged : 0;
    const double earlier = std::exp(aged - max_score), later = std::exp(-max_score);
    normalizer = normalizer * earlier + later;
    sums[0] = sums[0] * earlier + later * value;
    sums[1] = sums[1] * earlier + later * value * value;
  }
  const double weight = normalizer > 0 ? normalizer : 1, mean = sums[0] / weight;
  const double variance = sums[1] / weight - mean * mean;
  return {static_cast<float>(mean), static_cast<float>(std::sqrt((variance > 0 ? variance : 0) + m.epsilon))};
}

// The last rows of the targets with the new one, and what the head's outputs are added to, (horizon, targets).
void take_highway(const ForecastModel& m, char* record, const float* values, const Moments* moments, float* base,
                  float* scratch) {
  const int64_t rows = m.highway_rows;
  if (!m.highway) {
    for (int64_t h = 0; h < m.horizon; ++h)
      for (int64_t t = 0; t < m.targets; ++t) base[h * m.targets + t] = moments[t].mean;
    return;
  }
  float* kept = at<float>(record, m.highway_place);  // (rows, targets), the latest last
  std::memmove(kept, kept + m.targets, (rows - 1) * m.targets * sizeof(float));
  std::memcpy(kept + (rows - 1) * m.targets, values, m.targets * sizeof(float));
  float *differences = scratch, *said = scratch + rows;
  for (int64_t t = 0; t < m.targets; ++t) {
    float last = moments[t].mean;
    for (int64_t p = rows; p-- > 0;)
      if (std::isfinite(kept[p * m.targets + t])) {
        last = kept[p * m.targets + t];
        break;
      }
    for (int64_t p = 0; p < rows; ++p) {  // the latest first
      const float x = kept[(rows - 1 - p) * m.targets + t];
      differences[p] = std::isfinite(x) ? x - last : 0.0f;
    }
    apply({m.highway, nullptr}, differences, said, 1, rows, m.horizon);
    for (int64_t h = 0; h < m.horizon; ++h) base[h * m.targets + t] = last + said[h];
  }
}

// Copies of one part of the states of a batch, or back.
void gather(const ForecastStep& s, int64_t place, int64_t count, double* to) {
  for (int64_t n = 0; n < s.batch; ++n, to += count)
    std::memcpy(to, s.records + n * s.model.record_bytes + place, count * sizeof(double));
}

void scatter(const ForecastStep& s, int64_t place, int64_t count, const double* from) {
  for (int64_t n = 0; n < s.batch; ++n, from += count)
    std::memcpy(s.records + n * s.model.record_bytes + place, from, count * sizeof(double));
}

void take_layer(const ForecastStep& s, const ForecastLayer& one, float* x) {
  const int64_t each = one.layer.heads, heads = s.batch * each, width = one.layer.width;
  const auto states = std::make_unique<double[]>(2 * (2 * heads + s.batch * width));
  double* half = states.get() + 2 * heads + s.batch * width;
  const State start{states.get(), states.get() + heads, states.get() + 2 * heads};
  const State end{half, half + heads, half + 2 * heads};
  gather(s, one.place.max_score, each, start.max_score);
  gather(s, one.place.normalizer, each, start.normalizer);
  gather(s, one.place.weighted_sum, width, start.weighted_sum);
  // in place: a step reads its input, twice, before it writes its output
  AAREN_ISA.layer_step({one.layer, s.batch, x, one.by_time ? s.elapsed : nullptr, start, end, x});
  scatter(s, one.place.max_score, each, end.max_score);
  scatter(s, one.place.normalizer, each, end.normalizer);
  scatter(s, one.place.weighted_sum, width, end.weighted_sum);
}

// Ascending, what is not a number last.
void sort(float* x, int64_t count) {
  for (int64_t i = 1; i < count; ++i)
    for (int64_t j = i; j > 0 && (x[j] < x[j - 1] || (std::isnan(x[j - 1]) && !std::isnan(x[j]))); --j) {
      const float least = x[j];
      x[j] = x[j - 1];
      x[j - 1] = least;
    }
}

// What the head says, (horizon, targets, 1 + levels), on top of the base and in the user's units.
void tell(const ForecastStep& s, int64_t n, const float* raw, const float* base, const Moments* moments,
          float* said) {
  const ForecastModel& m = s.model;
  double *mean = s.means + n * m.horizon * m.targets, *quantiles = s.quantiles + n * m.horizon * m.targets * m.levels;
  s.sound[n] = true;
  for (int64_t k = 0; k < m.horizon * m.targets; ++k, ++mean, quantiles += m.levels, raw += 1 + m.levels) {
    const int64_t t = k % m.targets;
    for (int64_t l = 0; l <= m.levels; ++l) said[l] = raw[l] * moments[t].deviation + base[k];
    sort(said + 1, m.levels);
    s.sound[n] = s.sound[n] && std::isfinite(said[0]);
    *mean = said[0] * m.deviation[t] + m.mean[t];
    for (int64_t l = 0; l < m.levels; ++l) quantiles[l] = said[1 + l] * m.deviation[t] + m.mean[t];
  }
}

}  // namespace

#define AAREN_JOIN(a, b) a##b
#define AAREN_JOINED(a, b) AAREN_JOIN(a, b)

void AAREN_JOINED(forecast_step_, AAREN_ISA)(const ForecastStep& s) {
  const ForecastModel& m = s.model;
  const int64_t width = m.layers[0].layer.width, features = 2 * m.inputs + m.calendar + m.by_time;
  const int64_t said = m.horizon * m.targets, outputs = said * (1 + m.levels);
  const auto scratch = std::make_unique<float[]>(s.batch * (features + width + said + outputs) + m.inputs +
                                                 m.highway_rows + m.horizon + 1 + m.levels);
  float *tokens = scratch.get(), *x = tokens + s.batch * features, *bases = x + s.batch * width;
  float *raw = bases + s.batch * said, *known = raw + s.batch * outputs, *small = known + m.inputs;
  const auto moments = std::make_unique<Moments[]>(s.batch * m.inputs);

  for (int64_t n = 0; n < s.batch; ++n) {
    char* record = s.records + n * m.record_bytes;
    float *scaled = tokens + n * features, *there = scaled + m.inputs, *more = there + m.inputs;
    Moments* own = moments.get() + n * m.inputs;
    for (int64_t i = 0; i < m.inputs; ++i) {
      known[i] = static_cast<float>((s.values[n * m.inputs + i] - m.mean[i]) / m.deviation[i]);
      const bool observed = std::isfinite(known[i]);
      if (!observed) known[i] = NAN;
      own[i] = observe(m, record, i, known[i], observed);
      scaled[i] = observed ? (known[i] - own[i].mean) / own[i].deviation : 0.0f;
      there[i] = observed ? 1.0f : 0.0f;
    }
    std::memcpy(more, s.calendar + n * m.calendar, m.calendar * sizeof(float));
    if (m.by_time) more[m.calendar] = std::log1p(s.elapsed[n]);
    take_highway(m, record, known, own, bases + n * said, small);
    ++*at<int64_t>(record, m.position);
  }
  apply(m.embed, tokens, x, s.batch, features, width);
  if (s.positions)
    for (int64_t k = 0; k < s.batch * width; ++k) x[k] += s.positions[k];
  for (int64_t i = 0; i < m.count; ++i) take_layer(s, m.layers[i], x);
  if (m.last.weight) normalize(m.last, x, x, s.batch, width);
  apply(m.head, x, raw, s.batch, width, outputs);
  for (int64_t n = 0; n < s.batch; ++n)
    tell(s, n, raw + n * outputs, bases + n * said, moments.get() + n * m.inputs, small);
}

}  // namespace aaren
