// Products of a matrix and the vectors of a small batch, and layer norms, in float32.
//
// Included by files that are compiled once for each instruction set; see vector.h about the linkage.
#pragma once

#include <cmath>

#include "layer.h"
#include "vector.h"

namespace aaren {
namespace {

constexpr int kFloats = kLanes<float>;
constexpr int kRows = 4;  // rows of a matrix whose products run side by side

// y (batch, out) = x (batch, in) W' + b for W (out, in): `kRows` or fewer rows of W at a time, for all of the batch.
template <int rows>
void products(const float* weight, const float* bias, const float* x, float* y, int64_t batch, int64_t in,
              int64_t out) {
  for (int64_t n = 0; n < batch; ++n, x += in, y += out) {
    Floats sums[rows] = {};
    int64_t i = 0;
    for (; i + kFloats <= in; i += kFloats) {
      const Floats v = load(x + i);
      for (int r = 0; r < rows; ++r) sums[r] += load(weight + r * in + i) * v;
    }
    if (i < in) {
      const int left = static_cast<int>(in - i);
      const Floats v = load_some(x + i, left);
      for (int r = 0; r < rows; ++r) sums[r] += load_some(weight + r * in + i, left) * v;
    }
    for (int r = 0; r < rows; ++r) y[r] = static_cast<float>(sum(sums[r])) + (bias ? bias[r] : 0.0f);
  }
}

void apply(const Linear& linear, const float* x, float* y, int64_t batch, int64_t in, int64_t out) {
  int64_t o = 0;
  for (; o + kRows <= out; o += kRows)
    products<kRows>(linear.weight + o * in, linear.bias ? linear.bias + o : nullptr, x, y + o, batch, in, out);
  for (; o < out; ++o)
    products<1>(linear.weight + o * in, linear.bias ? linear.bias + o : nullptr, x, y + o, batch, in, out);
}

void normalize(const LayerNorm& norm, const float* x, float* y, int64_t batch, int64_t width) {
  for (int64_t n = 0; n < batch; ++n, x += width, y += width) {
    double mean = 0, square = 0;
    for (int64_t i = 0; i < width; ++i) mean += x[i];
    mean /= width;
    for (int64_t i = 0; i < width; ++i) square += (x[i] - mean) * (x[i] - mean);
    const double scale = 1 / std::sqrt(square / width + norm.eps);
    for (int64_t i = 0; i < width; ++i)
      y[i] = static_cast<float>((x[i] - mean) * scale) * norm.weight[i] + (norm.bias ? norm.bias[i] : 0.0f);
  }
}

}  // namespace
}  // namespace aaren
