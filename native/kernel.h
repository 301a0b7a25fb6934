// What the Python side hands to a kernel, and the table of kernels that one instruction set offers.
//
// A row is one batch element and one head: one prefix attention of its own. Rows are counted by two indices, a
// (outer, "batch") and b (inner, "head"), each with its own stride, so that a projection's output
// (batch, tokens, heads, dim) is read where it lies. Strides are in elements.
#pragma once

#include <cstdint>

namespace aaren {

enum class Type : int { f32 = 0, f64 = 1, bf16 = 2, f16 = 3 };

// One number, or one vector of `dim` neighbours, for every row and token. Absent where `data` is null.
struct Tensor {
  void* data;
  Type type;
  int64_t stride_a, stride_b, stride_t;
};

struct Shape {
  int64_t a, b, tokens, dim;
};

// Numbers for every row, contiguous: (a, b) or (a, b, dim).
struct State {
  double *max_score, *normalizer, *weighted_sum;
};

struct Forward {
  Shape shape;
  Tensor scores, values, log_decay;
  State start;  // null pointers: nothing seen yet
  Tensor outputs;
  double* gain;  // (a, b, tokens), contiguous
  State end;
};

struct Backward {
  Shape shape;
  Tensor grad_outputs, scores, values, outputs;
  const double* gain;
  const double *end_acc, *end_r;  // behind the last token; null for zeros
  const double* start_mean;       // null for zeros
  Tensor grad_scores, grad_values, grad_log_decay;
  double *grad_start_mean, *grad_start_lse;
};

struct LayerStep;     // layer.h
struct ForecastStep;  // forecast.h

struct Kernels {
  const char* name;
  void (*forward)(const Forward&, int threads);
  void (*backward)(const Backward&, int threads);
  void (*step)(const Forward&, int threads);  // one token, forward only; `gain` is not written
  void (*layer_step)(const LayerStep&);
  void (*forecast_step)(const ForecastStep&);
};

extern const Kernels baseline;
#ifdef AAREN_X86
extern const Kernels avx2, avx512;
#endif

}  // namespace aaren
