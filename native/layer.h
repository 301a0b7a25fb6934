// What the Python side hands over to take one token through encoder layers, for small batches: what streaming spends
// its time on.
#pragma once

#include "kernel.h"

namespace aaren {

struct Linear {
  const float* weight;  // (out, in), contiguous
  const float* bias;    // (out) or null
};

struct LayerNorm {
  const float* weight;
  const float* bias;  // null without
  double eps;
};

enum class Activation : int { relu = 0, gelu = 1 };

struct Layer {
  int64_t width, heads, hidden;
  const float* query;       // (width), the learned token
  const float* decay_rate;  // (heads), before softplus, or null without decay
  Linear in_proj;      // (3 width, width): query, key, value
  Linear out_proj, linear1, linear2;
  LayerNorm norm1, norm2;
  bool norm_first;
  Activation activation;
};

struct LayerStep {
  Layer layer;
  int64_t batch;
  const float* x;  // (batch, width)
  const float* elapsed;    // (batch), or null: one token is one unit of time
  State start, end;        // (batch, heads), (batch, heads, width / heads)
  float* y;                // (batch, width)
};

}  // namespace aaren
