// One token through a whole encoder layer in float32, for small batches. A streamed token is a chain of products of a
// matrix and a vector, so small that calling a library for each of them takes longer than all of them together; what
// is left here is bound by reading the weights once.
//
// Compiled once for each instruction set, as kernel.cpp is; layer_step_<set> is the only name that it exports.

#include "layer.h"
#include "products.h"

#include <cmath>
#include <memory>

namespace aaren {
namespace {

// Rows [first, first + out) of a linear layer as one of its own.
Linear rows_of(const Linear& linear, int64_t first, int64_t in) {
  return {linear.weight + first * in, linear.bias ? linear.bias + first : nullptr};
}

void activate(Activation activation, float* x, int64_t count) {
  if (activation == Activation::relu)
    for (int64_t i = 0; i < count; ++i) x[i] = x[i] < 0 ? 0 : x[i];  // NaN stays NaN
  else
    for (int64_t i = 0; i < count; ++i) x[i] = 0.5f * x[i] * (1 + std::erf(x[i] * 0.70710678f));
}

// log-decay of a row and head: -softplus(rate) for each unit of time, as torch.nn.functional.softplus has it.
void decays_of(const Layer& l, const float* elapsed, float* log_decay, int64_t batch) {
  for (int64_t h = 0; h < l.heads; ++h) {
    const float rate = l.decay_rate[h] > 20.0f ? l.decay_rate[h] : std::log1p(std::exp(l.decay_rate[h]));
    for (int64_t n = 0; n < batch; ++n) log_decay[n * l.heads + h] = -rate * (elapsed ? elapsed[n] : 1.0f);
  }
}

// s_h = q_h . k_h / sqrt(dim of a head). The bias of the keys adds the same to every score of a head and cancels.
void scores_of(const Layer& l, const float* query, const float* keys, float* scores, int64_t batch) {
  const int64_t dim = l.width / l.heads;
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  for (int64_t row = 0; row < batch * l.heads; ++row) {
    const float* q = query + row % l.heads * dim;
    const float* k = keys + row * dim;
    double dot = 0;
    for (int64_t i = 0; i < dim; ++i) dot += static_cast<double>(q[i]) * k[i];
    scores[row] = static_cast<float>(dot * scale);
  }
}

}  // namespace

extern const Kernels AAREN_ISA;

#define AAREN_JOIN(a, b) a##b
#define AAREN_JOINED(a, b) AAREN_JOIN(a, b)

void AAREN_JOINED(layer_step_, AAREN_ISA)(const LayerStep& s) {
  const Layer& l = s.layer;
  const int64_t width = l.width, dim = width / l.heads, all = s.batch * width;
  const auto scratch = std::make_unique<float[]>(width + 5 * all + s.batch * (2 * l.heads + l.hidden));
  float* query = scratch.get();
  float *input = query + width, *keys = input + all, *values = keys + all, *attended = values + all;
  float *middle = attended + all, *scores = middle + all;
  float *log_decay = scores + s.batch * l.heads, *hidden = log_decay + s.batch * l.heads;

  const float* x = s.x;
  if (l.norm_first) {
    normalize(l.norm1, x, input, s.batch, width);
    x = input;
  }
  apply(rows_of(l.in_proj, 0, width), l.query, query, 1, width, width);
  apply({l.in_proj.weight + width * width, nullptr}, x, keys, s.batch, width, width);
  apply(rows_of(l.in_proj, 2 * width, width), x, values, s.batch, width, width);
  scores_of(l, query, keys, scores, s.batch);
  if (l.decay_rate) decays_of(l, s.elapsed, log_decay, s.batch);

  const auto vectors = [&](float* data) { return Tensor{data, Type::f32, width, dim, 0}; };
  const auto numbers = [&](const float* data) {
    return Tensor{const_cast<float*>(data), Type::f32, l.heads, 1, 0};
  };
  const Forward step{{s.batch, l.heads, 1, dim}, numbers(scores),   vectors(values), numbers(l.decay_rate ? log_decay : nullptr),
                     s.start,                    vectors(attended), nullptr,         s.end};
  AAREN_ISA.step(step, 1);

  apply(l.out_proj, attended, middle, s.batch, width, width);
  for (int64_t i = 0; i < all; ++i) middle[i] += s.x[i];
  if (!l.norm_first) normalize(l.norm1, middle, middle, s.batch, width);
  if (l.norm_first) normalize(l.norm2, middle, input, s.batch, width);
  apply(l.linear1, l.norm_first ? input : middle, hidden, s.batch, width, l.hidden);
  activate(l.activation, hidden, s.batch * l.hidden);
  apply(l.linear2, hidden, s.y, s.batch, l.hidden, width);
  for (int64_t i = 0; i < all; ++i) s.y[i] += middle[i];
  if (!l.norm_first) normalize(l.norm2, s.y, s.y, s.batch, width);
}

}  // namespace aaren
