// Prefix attention in one pass over the tokens: forward, closed-form backward, one step.
//
// This file is compiled once for each instruction set; AAREN_ISA names the table of kernels that it makes. The
// mathematics, with the names used here, is in docs/mathematics.md; the paper is arXiv 2405.13956.
//
// Work is cut into pieces of rows, and, where there are fewer rows than threads, of chunks of `dim`. Every number is
// computed by the same operations in the same order however it is cut, so results do not depend on the threads.

#include "kernel.h"
#include "vector.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <memory>

namespace aaren {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kBlock = 8;              // tokens whose numbers are added up in one piece before they join the others
constexpr int kStretch = 32;           // tokens whose exponentials are computed together
constexpr int kRows = kLanes<double>;  // rows whose scalars are computed together, one in each lane
constexpr int kWide = kBytes >= 32 ? 64 : 32, kHalf = kWide / 2, kQuarter = kWide / 4;  // of `dim`, walked together
constexpr int64_t kSerial = 1 << 14;   // below so many numbers a second thread costs more than it saves
constexpr int64_t kBypass = 8 << 20;   // above so many bytes a result is written past the caches

template <typename T>
inline T* at(const Tensor& x, int64_t a, int64_t b, int64_t t) {
  return static_cast<T*>(x.data) + a * x.stride_a + b * x.stride_b + t * x.stride_t;
}

inline double number(float x) { return x; }
inline double number(double x) { return x; }
template <typename T>
inline double number(const T& x) { return load_some(&x, 1)[0]; }

inline void set(float& to, double x) { to = static_cast<float>(x); }
inline void set(double& to, double x) { to = x; }
template <typename T>
inline void set(T& to, double x) { store_some(&to, Floats{} + static_cast<float>(x), 1); }

template <typename T>
void gather(const Tensor& x, int64_t a, int64_t b, int64_t t, int count, double* to) {
  const T* from = at<T>(x, a, b, t);
  for (int i = 0; i < count; ++i) to[i] = number(from[i * x.stride_t]);
}

template <typename T>
void scatter(const Tensor& x, int64_t a, int64_t b, int64_t t, int count, const double* from) {
  T* to = at<T>(x, a, b, t);
  for (int i = 0; i < count; ++i) set(to[i * x.stride_t], from[i]);
}

void load_scalars(const Tensor& x, int64_t a, int64_t b, int64_t t, int count, double* to) {
  switch (x.type) {
    case Type::f32: return gather<float>(x, a, b, t, count, to);
    case Type::f64: return gather<double>(x, a, b, t, count, to);
    case Type::bf16: return gather<BFloat16>(x, a, b, t, count, to);
    case Type::f16: return gather<Float16>(x, a, b, t, count, to);
  }
}

void store_scalars(const Tensor& x, int64_t a, int64_t b, int64_t t, int count, const double* from) {
  switch (x.type) {
    case Type::f32: return scatter<float>(x, a, b, t, count, from);
    case Type::f64: return scatter<double>(x, a, b, t, count, from);
    case Type::bf16: return scatter<BFloat16>(x, a, b, t, count, from);
    case Type::f16: return scatter<Float16>(x, a, b, t, count, from);
  }
}

// The running (m, u) of as many rows as a vector has lanes.
struct Normalizers {
  Doubles max_score = splat(-kInfinity), normalizer{};

  // Over a stretch of tokens: from scores and log-decays to the gains exp(s - m) / u, which take the scores' place.
  void advance(double (*scores)[kRows], const double (*log_decay)[kRows], int count) {
    const Doubles nothing = splat(-kInfinity), zero{};
    Doubles past[kStretch], added[kStretch];
    for (int k = 0; k < count; ++k) {
      const Doubles score = load(scores[k]);
      Doubles before = max_score;
      if (log_decay) {
        const Doubles decay = load(log_decay[k]);
        before = decay == nothing ? nothing : max_score + decay;  // a reset forgets even a NaN or an infinity
      }
      max_score = score > before ? score : before;
      const Doubles shift = max_score > nothing ? max_score : zero;  // never -inf - (-inf)
      past[k] = before - shift;
      added[k] = score - shift;
    }
    for (int k = 0; k < count; ++k) {
      past[k] = exp_of_nonpositive(past[k]);
      added[k] = exp_of_nonpositive(added[k]);
    }
    for (int k = 0; k < count; ++k) {
      normalizer = past[k] == zero ? added[k] : normalizer * past[k] + added[k];
      // where nothing was seen yet the gain is 1, of a value that is not read
      store(scores[k], normalizer == zero ? splat(1) : added[k] / normalizer);
    }
  }
};

// Gains, and the final (m, u), of `rows` rows from `row` on.
void gains_of(const Forward& f, int64_t row, int rows) {
  const Shape& s = f.shape;
  Normalizers norms;
  if (f.start.max_score) {
    for (int r = 0; r < rows; ++r) {
      norms.max_score[r] = f.start.max_score[row + r];
      norms.normalizer[r] = f.start.normalizer[row + r];
    }
  }
  alignas(kBytes) double scores[kStretch][kRows] = {}, log_decay[kStretch][kRows] = {};
  double of_row[kStretch];
  for (int64_t t = 0; t < s.tokens; t += kStretch) {
    const int count = static_cast<int>(s.tokens - t < kStretch ? s.tokens - t : kStretch);
    for (int r = 0; r < rows; ++r) {
      const int64_t a = (row + r) / s.b, b = (row + r) % s.b;
      load_scalars(f.scores, a, b, t, count, of_row);
      for (int k = 0; k < count; ++k) scores[k][r] = of_row[k];
      if (!f.log_decay.data) continue;
      load_scalars(f.log_decay, a, b, t, count, of_row);
      for (int k = 0; k < count; ++k) log_decay[k][r] = of_row[k];
    }
    norms.advance(scores, f.log_decay.data ? log_decay : nullptr, count);
    for (int r = 0; r < rows; ++r)
      for (int k = 0; k < count; ++k) f.gain[(row + r) * s.tokens + t + k] = scores[k][r];
  }
  for (int r = 0; r < rows; ++r) {
    f.end.max_score[row + r] = norms.max_score[r];
    f.end.normalizer[row + r] = norms.normalizer[r];
  }
}

// What the gains of one row leave for the vectors of a block of tokens.
struct Gains {
  alignas(64) double score[kBlock];
  alignas(64) double gain[kBlock];  // g
  alignas(64) double kept[kBlock];  // f = 1 - g

  template <typename Pass>  // forward or backward
  void load(const Pass& f, int64_t row, int64_t t, int count) {
    load_scalars(f.scores, row / f.shape.b, row % f.shape.b, t, count, score);
    std::memcpy(gain, f.gain + row * f.shape.tokens + t, count * sizeof(double));
    for (int k = 0; k < count; ++k) kept[k] = 1 - gain[k];
  }
  // where nothing of the past is kept, what it holds must not count, be it NaN
  bool forgets(int k) const { return gain[k] == 1; }
  bool masked(int k) const { return score[k] == -kInfinity; }
};

// A cut of `dim`: wide pieces, then a half, then a quarter, then single vectors, then what is left.
struct Piece {
  int64_t first;
  int width;
};

inline Piece piece_after(int64_t first, int64_t dim, int lanes) {
  const int64_t left = dim - first;
  for (const int width : {kWide, kHalf, kQuarter, lanes})
    if (left >= width) return {first, width};
  return {first, static_cast<int>(left)};
}

inline int64_t pieces_of(int64_t dim, int lanes) {  // at least one, be it empty
  int64_t count = dim / kWide;  // all but the last few are wide
  for (Piece p{count * kWide, 0}; p.first + p.width < dim || count == 0; ++count)
    p = piece_after(p.first + p.width, dim, lanes);
  return count;
}

inline Piece piece_number(int64_t index, int64_t dim, int lanes) {
  const int64_t wide = std::min(index, dim / kWide);
  Piece piece = piece_after(wide * kWide, dim, lanes);
  for (int64_t i = wide; i < index; ++i) piece = piece_after(piece.first + piece.width, dim, lanes);
  return piece;
}

// `n` vectors in registers; with `some`, one vector of which `width` lanes are there.
template <typename E, int n, bool some>
struct Span {
  static constexpr int vectors = n;
  int width;
  template <typename T>
  Vec<E> get(const T* from, int i) const {
    if constexpr (some) return load_some(from, width);
    return load(from + i * kLanes<E>);
  }
  template <typename T>
  void put(T* to, int i, Vec<E> x) const {
    if constexpr (some) return store_some(to, x, width);
    store(to + i * kLanes<E>, x);
  }
  template <bool bypass, typename T>
  void write(T* to, int i, Vec<E> x) const {
    if constexpr (bypass && !some)
      store_past_caches(to + i * kLanes<E>, x);
    else
      put(to, i, x);
  }
  template <typename T>
  void fetch(const T* from) const {  // into the second cache, for the block after this one
    for (size_t i = 0; i < n * kLanes<E> * sizeof(T); i += 64)
      __builtin_prefetch(reinterpret_cast<const char*>(from) + i, 0, 2);
  }
  int size() const { return some ? width : n * kLanes<E>; }
};

// Calls `run` with the span that fits a piece.
template <typename E, typename Run>
void with_span(Piece piece, const Run& run) {
  if (piece.width == kWide)
    run(Span<E, kWide / kLanes<E>, false>{0});
  else if (piece.width == kHalf)
    run(Span<E, kHalf / kLanes<E>, false>{0});
  else if (piece.width == kQuarter)
    run(Span<E, kQuarter / kLanes<E>, false>{0});
  else if (piece.width == kLanes<E>)
    run(Span<E, 1, false>{0});
  else
    run(Span<E, 1, true>{piece.width});
}

// Numbers that are carried in double from block to block, rounded once for use within a block.
template <typename S, typename E, int n>
void round_carry(const S& span, const double* carry, Vec<E> (&to)[n]) {
  E rounded[n * kLanes<E>] = {};
  for (int i = 0; i < span.size(); ++i) rounded[i] = static_cast<E>(carry[i]);
  for (int i = 0; i < n; ++i) to[i] = load(rounded + i * kLanes<E>);
}

template <typename S, typename E, int n>
void add_to_carry(const S& span, double reach, const Vec<E> (&local)[n], double* carry) {
  E added[n * kLanes<E>];
  for (int i = 0; i < n; ++i) store(added + i * kLanes<E>, local[i]);
  for (int i = 0; i < span.size(); ++i) carry[i] = (reach == 0 ? 0 : reach * carry[i]) + added[i];
}

// o_k = f_k o_{k-1} + g_k v_k over a block of tokens and one piece of dim, as the part that the block itself adds and
// the part that reaches in from before, `mean`, which is carried to the next block.
template <bool bypass, typename T, typename S>
void mean_of(const S& span, const T* v, int64_t v_stride, T* o, int64_t o_stride, const Gains& g, int count,
             double* mean) {
  using E = Compute<T>;
  constexpr int n = S::vectors;
  Vec<E> local[n] = {}, past[n];
  round_carry<S, E, n>(span, mean, past);
  double reach = 1;
  for (int k = 0; k < count; ++k, v += v_stride, o += o_stride) {
    if (g.forgets(k)) {
      reach = 0;
      for (int i = 0; i < n; ++i) {
        past[i] = Vec<E>{};
        local[i] = g.masked(k) ? Vec<E>{} : span.get(v, i);
      }
    } else if (!g.masked(k)) {  // what is behind a mask is not read
      reach *= g.kept[k];
      const E gain = static_cast<E>(g.gain[k]), kept = static_cast<E>(g.kept[k]);
      for (int i = 0; i < n; ++i) local[i] = kept * local[i] + gain * span.get(v, i);
    }
    const E reached = static_cast<E>(reach);
    for (int i = 0; i < n; ++i) span.template write<bypass>(o, i, local[i] + reached * past[i]);
  }
  add_to_carry<S, E, n>(span, reach, local, mean);
}

template <bool bypass, typename T>
void mean_of_piece(const Forward& f, int64_t a, int64_t b, int64_t t, int count, Piece piece, const Gains& g,
                   double* mean) {
  const T* v = at<T>(f.values, a, b, t) + piece.first;
  T* o = at<T>(f.outputs, a, b, t) + piece.first;
  with_span<Compute<T>>(piece, [&](auto span) {
    mean_of<bypass, T>(span, v, f.values.stride_t, o, f.outputs.stride_t, g, count, mean + piece.first);
  });
}

// Heads of one batch element that lie between one another's tokens are walked together, so that memory is read in order.
int64_t rows_together(const Shape& shape, const Tensor& values, int threads) {
  if (values.stride_b >= values.stride_t) return 1;
  for (int64_t groups = 1; groups < shape.b; ++groups) {
    const int64_t items = shape.a * groups;
    if (shape.b % groups == 0 && (items % threads == 0 || items >= 8 * threads)) return shape.b / groups;
  }
  return 1;
}

struct Cut {
  int64_t together, pieces;  // rows in an item; pieces of dim that are items of their own, or 1
  int64_t items;
};

Cut cut(const Shape& shape, const Tensor& values, int lanes, int threads) {
  const int64_t rows = shape.a * shape.b;
  if (threads > 1 && rows < threads) {
    const int64_t pieces = pieces_of(shape.dim, lanes);
    if (pieces > 1) return {1, pieces, rows * pieces};
  }
  const int64_t together = rows_together(shape, values, threads);
  return {together, 1, rows / together};
}

// Whether a result is so large that it had better not drive everything else out of the caches, and lies so that whole
// vectors can be written past them.
template <typename T>
bool bypasses(const Shape& shape, const Tensor& x) {
  constexpr int64_t size = sizeof(T);
  const int64_t strides = x.stride_a | x.stride_b | x.stride_t;
  return kCanBypass<T> && shape.a * shape.b * shape.tokens * shape.dim * size >= kBypass &&
         strides * size % kBytes == 0 && reinterpret_cast<uintptr_t>(x.data) % kBytes == 0;
}

int threads_for(const Shape& shape, int threads) {
  const int64_t numbers = shape.a * shape.b * shape.tokens * (shape.dim + 8);
  return numbers < kSerial || threads < 1 ? 1 : threads;
}

// One item: rows [row, row + cut.together), all of dim or one piece of it.
template <bool bypass, typename T>
void forward_item(const Forward& f, const Cut& c, int64_t item) {
  const Shape& s = f.shape;
  constexpr int lanes = kLanes<Compute<T>>;
  const int64_t row = item / c.pieces * c.together;
  const Piece only = c.pieces > 1 ? piece_number(item % c.pieces, s.dim, lanes) : Piece{0, 0};
  const int64_t from = only.first, to = c.pieces > 1 ? only.first + only.width : s.dim;
  const int64_t here = c.pieces > 1 ? 1 : pieces_of(s.dim, lanes);

  double* means = f.end.weighted_sum + row * s.dim;  // w / u, until the end
  for (int64_t r = 0; r < c.together; ++r) {
    const double normalizer = f.start.max_score ? f.start.normalizer[row + r] : 0;
    for (int64_t d = from; d < to; ++d)
      means[r * s.dim + d] = normalizer == 0 ? 0 : f.start.weighted_sum[(row + r) * s.dim + d] / normalizer;
  }
  Gains g;
  for (int64_t t = 0; t < s.tokens; t += kBlock) {
    const int count = static_cast<int>(s.tokens - t < kBlock ? s.tokens - t : kBlock);
    for (int64_t r = 0; r < c.together; ++r) {
      const int64_t a = (row + r) / s.b, b = (row + r) % s.b;
      g.load(f, row + r, t, count);
      Piece p{from, 0};
      for (int64_t i = 0; i < here; ++i) {
        p = piece_after(p.first + p.width, s.dim, lanes);
        mean_of_piece<bypass, T>(f, a, b, t, count, p, g, means + r * s.dim);
      }
    }
  }
  for (int64_t r = 0; r < c.together; ++r)
    for (int64_t d = from; d < to; ++d) means[r * s.dim + d] *= f.end.normalizer[row + r];
}

template <typename T>
void forward_as(const Forward& f, int threads) {
  threads = threads_for(f.shape, threads);
  const Cut c = cut(f.shape, f.values, kLanes<Compute<T>>, threads);
  const bool bypass = bypasses<T>(f.shape, f.outputs);
  const int64_t rows = f.shape.a * f.shape.b, share = (rows + threads - 1) / threads;
  const int64_t most = std::min<int64_t>(share, kRows);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
#pragma omp for schedule(static)
    for (int64_t group = 0; group < (rows + most - 1) / most; ++group)
      gains_of(f, group * most, static_cast<int>(std::min(most, rows - group * most)));
#pragma omp for schedule(static)
    for (int64_t item = 0; item < c.items; ++item) {
      if (bypass)
        forward_item<true, T>(f, c, item);
      else
        forward_item<false, T>(f, c, item);
      finish_bypass();
    }
  }
}

void forward(const Forward& f, int threads) {
  switch (f.values.type) {
    case Type::f32: return forward_as<float>(f, threads);
    case Type::f64: return forward_as<double>(f, threads);
    case Type::bf16: return forward_as<BFloat16>(f, threads);
    case Type::f16: return forward_as<Float16>(f, threads);
  }
}

// The backward recurrence over a block of tokens, last token first, and one piece of dim:
//   acc_k = do_k + f_{k+1} acc_{k+1}        r_k = o_k . do_k + f_{k+1} r_{k+1}        f = 1 - g
//   dv_k = g_k acc_k        into_gain[k] += v_k . acc_k - r_k        into_kept[k] += o_{k-1} . acc_k - r_k
// `acc` and `r` come from the block after and are left for the block before; `kept` is f of the token after the block.
template <typename T>
struct Rows {  // where token 0 of the block lies
  const T *grad_outputs, *values, *outputs;
  T* grad_values;
  int64_t stride_grad_outputs, stride_values, stride_outputs, stride_grad_values;
};

template <bool decays, bool bypass, typename T, typename S>
void gradients_of(const S& span, const Rows<T>& x, const Gains& g, int count, bool has_before, double kept, double* acc,
                  double* r, double* into_gain, double* into_kept) {
  using E = Compute<T>;
  constexpr int n = S::vectors;
  Vec<E> local[n] = {}, past[n];
  round_carry<S, E, n>(span, acc, past);
  double rest = *r, reach = 1;
  for (int k = count - 1; k >= 0; --k) {
    const T* go = x.grad_outputs + k * x.stride_grad_outputs;
    const T* o = x.outputs + k * x.stride_outputs;
    if (has_before) {  // three streams, backwards, are more than the hardware sees coming
      span.fetch(go - kBlock * x.stride_grad_outputs);
      span.fetch(o - kBlock * x.stride_outputs);
      span.fetch(x.values + (k - kBlock) * x.stride_values);
    }
    reach *= kept;
    if (kept == 0) {
      rest = 0;
      for (int i = 0; i < n; ++i) local[i] = past[i] = Vec<E>{};
    }
    const E factor = static_cast<E>(kept), reached = static_cast<E>(reach), gain = static_cast<E>(g.gain[k]);
    const bool masked = g.masked(k), comes_after = decays && (k > 0 || has_before);
    const T* v = x.values + k * x.stride_values;
    T* gv = x.grad_values + k * x.stride_grad_values;
    Vec<E> of_outputs{}, of_values{}, of_before{};
    for (int i = 0; i < n; ++i) {
      const Vec<E> grad = span.get(go, i);
      local[i] = grad + factor * local[i];
      const Vec<E> sums = local[i] + reached * past[i];
      of_outputs += span.get(o, i) * grad;
      if (!masked) of_values += span.get(v, i) * sums;
      span.template write<bypass>(gv, i, masked ? Vec<E>{} : gain * sums);
      if (comes_after) of_before += span.get(o - x.stride_outputs, i) * sums;
    }
    rest = sum(of_outputs) + kept * rest;
    if (!masked) into_gain[k] += sum(of_values) - rest;
    if (comes_after) into_kept[k] += sum(of_before) - rest;
    kept = g.kept[k];
  }
  add_to_carry<S, E, n>(span, reach, local, acc);
  *r = rest;
}

template <bool decays, bool bypass, typename T>
void gradients_of_piece(const Backward& f, int64_t a, int64_t b, int64_t t, int count, Piece piece, const Gains& g,
                        double kept, double* acc, double* r, double* into_gain, double* into_kept) {
  const Rows<T> x{at<T>(f.grad_outputs, a, b, t) + piece.first,
                  at<T>(f.values, a, b, t) + piece.first,
                  at<T>(f.outputs, a, b, t) + piece.first,
                  at<T>(f.grad_values, a, b, t) + piece.first,
                  f.grad_outputs.stride_t, f.values.stride_t, f.outputs.stride_t, f.grad_values.stride_t};
  with_span<Compute<T>>(piece, [&](auto span) {
    gradients_of<decays, bypass>(span, x, g, count, t > 0, kept, acc + piece.first, r, into_gain, into_kept);
  });
}

// Sums over the pieces of dim become gradients to the scalars of a block.
void finish_block(const Backward& f, int64_t a, int64_t b, int64_t t, int count, const Gains& g, double* into_gain,
                  double* into_kept) {
  for (int k = 0; k < count; ++k) {
    into_gain[k] = g.masked(k) ? 0 : into_gain[k] * g.gain[k];
    into_kept[k] = g.forgets(k) ? 0 : into_kept[k] * g.kept[k];
  }
  store_scalars(f.grad_scores, a, b, t, count, into_gain);
  if (f.grad_log_decay.data) store_scalars(f.grad_log_decay, a, b, t, count, into_kept);
  if (t == 0) f.grad_start_lse[a * f.shape.b + b] = into_kept[0];
}

// What pieces of one row leave for each other where they are items of their own: their terms of the sums over dim.
struct Partial {
  double* into_gain;  // (rows, pieces, tokens)
  double* into_kept;
};

template <bool decays, bool bypass, typename T>
void backward_item(const Backward& f, const Cut& c, int64_t item, const Partial& partial) {
  const Shape& s = f.shape;
  constexpr int lanes = kLanes<Compute<T>>;
  const int64_t row = item / c.pieces * c.together;
  const int64_t index = item % c.pieces;
  const Piece only = c.pieces > 1 ? piece_number(index, s.dim, lanes) : Piece{0, 0};
  const int64_t from = only.first, to = c.pieces > 1 ? only.first + only.width : s.dim;

  const int64_t here = c.pieces > 1 ? 1 : pieces_of(s.dim, lanes);
  const auto scratch = std::make_unique<double[]>(c.together * (here + 1));
  double *rests = scratch.get(), *kept = rests + c.together * here;
  for (int64_t r = 0; r < c.together; ++r) {
    double* acc = f.grad_start_mean + (row + r) * s.dim;
    for (int64_t d = from; d < to; ++d) acc[d] = f.end_acc ? f.end_acc[(row + r) * s.dim + d] : 0;
    if (from == 0 && f.end_r) rests[r * here] = f.end_r[row + r];  // the first piece alone carries what the end adds
    kept[r] = 1;
  }

  Gains g;
  const int64_t last = (s.tokens - 1) / kBlock * kBlock;
  for (int64_t t = last; t >= 0; t -= kBlock) {
    const int count = static_cast<int>(s.tokens - t < kBlock ? s.tokens - t : kBlock);
    for (int64_t r = 0; r < c.together; ++r) {
      const int64_t a = (row + r) / s.b, b = (row + r) % s.b;
      g.load(f, row + r, t, count);
      double into_gain[kBlock] = {}, into_kept[kBlock] = {};
      double* acc = f.grad_start_mean + (row + r) * s.dim;
      double* rest = rests + r * here;
      Piece p{from, 0};
      for (int64_t i = 0; i < here; ++i, ++rest) {
        p = piece_after(p.first + p.width, s.dim, lanes);
        gradients_of_piece<decays, bypass, T>(f, a, b, t, count, p, g, kept[r], acc, rest, into_gain, into_kept);
        if (t == 0) {
          double dot = 0;
          for (int64_t d = p.first; d < p.first + p.width; ++d) {
            if (f.start_mean) dot += f.start_mean[(row + r) * s.dim + d] * acc[d];
            acc[d] = g.forgets(0) ? 0 : acc[d] * g.kept[0];
          }
          into_kept[0] += dot - *rest;
        }
      }
      kept[r] = g.kept[0];
      if (c.pieces > 1) {
        const int64_t offset = (row * c.pieces + index) * s.tokens + t;
        std::memcpy(partial.into_gain + offset, into_gain, count * sizeof(double));
        std::memcpy(partial.into_kept + offset, into_kept, count * sizeof(double));
      } else {
        finish_block(f, a, b, t, count, g, into_gain, into_kept);
      }
    }
  }
}

// The terms of all pieces of a row, added in the order in which an item of whole rows adds them.
void add_pieces(const Backward& f, const Cut& c, int64_t row, const Partial& partial) {
  const Shape& s = f.shape;
  const int64_t a = row / s.b, b = row % s.b;
  Gains g;
  for (int64_t t = 0; t < s.tokens; t += kBlock) {
    const int count = static_cast<int>(s.tokens - t < kBlock ? s.tokens - t : kBlock);
    g.load(f, row, t, count);
    double into_gain[kBlock] = {}, into_kept[kBlock] = {};
    for (int64_t i = 0; i < c.pieces; ++i) {
      const int64_t offset = (row * c.pieces + i) * s.tokens + t;
      for (int k = 0; k < count; ++k) {
        into_gain[k] += partial.into_gain[offset + k];
        into_kept[k] += partial.into_kept[offset + k];
      }
    }
    finish_block(f, a, b, t, count, g, into_gain, into_kept);
  }
}

template <bool decays, bool bypass, typename T>
void backward_as(const Backward& f, int threads) {
  threads = threads_for(f.shape, threads);
  const Cut c = cut(f.shape, f.values, kLanes<Compute<T>>, threads);
  std::unique_ptr<double[]> memory;
  Partial partial{nullptr, nullptr};
  if (c.pieces > 1) {
    const int64_t size = c.items * f.shape.tokens;
    memory.reset(new double[2 * size]);
    partial = {memory.get(), memory.get() + size};
  }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (int64_t item = 0; item < c.items; ++item) {
    backward_item<decays, bypass, T>(f, c, item, partial);
    finish_bypass();
  }
  if (c.pieces > 1)
    for (int64_t row = 0; row < f.shape.a * f.shape.b; ++row) add_pieces(f, c, row, partial);
}

template <typename T>
void backward_with(const Backward& f, int threads) {
  const bool decays = f.grad_log_decay.data, bypass = bypasses<T>(f.shape, f.grad_values);
  if (decays && bypass) return backward_as<true, true, T>(f, threads);
  if (decays) return backward_as<true, false, T>(f, threads);
  if (bypass) return backward_as<false, true, T>(f, threads);
  return backward_as<false, false, T>(f, threads);
}

void backward(const Backward& f, int threads) {
  switch (f.values.type) {
    case Type::f32: return backward_with<float>(f, threads);
    case Type::f64: return backward_with<double>(f, threads);
    case Type::bf16: return backward_with<BFloat16>(f, threads);
    case Type::f16: return backward_with<Float16>(f, threads);
  }
}

// One token: u' = a u + b, w' = a w + b v, o = w' / u'. The state is kept as it is: nothing is divided and multiplied
// back, so that rounding does not add up over a stream.
template <typename T>
void step_row(const Forward& f, int64_t row) {
  const Shape& s = f.shape;
  const int64_t a = row / s.b, b = row % s.b;
  double score, decay = 0;
  load_scalars(f.scores, a, b, 0, 1, &score);
  if (f.log_decay.data) load_scalars(f.log_decay, a, b, 0, 1, &decay);
  const double before = decay == -kInfinity ? -kInfinity : f.start.max_score[row] + decay;
  const double max_score = score > before ? score : before;
  const double shift = max_score > -kInfinity ? max_score : 0;
  Doubles exponents{};
  exponents[0] = before - shift;
  exponents[1] = score - shift;
  const Doubles factors = exp_of_nonpositive(exponents);
  const double kept = factors[0], added = factors[1];
  const double normalizer = kept == 0 ? added : f.start.normalizer[row] * kept + added;
  f.end.max_score[row] = max_score;
  f.end.normalizer[row] = normalizer;
  const double inverse = normalizer == 0 ? 0 : 1 / normalizer;
  const bool read = score != -kInfinity;
  const double* w = f.start.weighted_sum + row * s.dim;
  double* to = f.end.weighted_sum + row * s.dim;
  const T* v = at<T>(f.values, a, b, 0);
  T* o = at<T>(f.outputs, a, b, 0);
  for (int64_t d = 0; d < s.dim; ++d) {
    double x = kept == 0 ? 0 : kept * w[d];
    if (read) x += added * number(v[d]);
    to[d] = x;
    set(o[d], x * inverse);
  }
}

template <typename T>
void step_as(const Forward& f, int threads) {
  const int64_t rows = f.shape.a * f.shape.b;
  threads = threads_for(f.shape, threads);
  if (threads <= 1) {  // a team of one thread would still call the system
    for (int64_t row = 0; row < rows; ++row) step_row<T>(f, row);
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < rows; ++row) step_row<T>(f, row);
}

void step(const Forward& f, int threads) {
  switch (f.values.type) {
    case Type::f32: return step_as<float>(f, threads);
    case Type::f64: return step_as<double>(f, threads);
    case Type::bf16: return step_as<BFloat16>(f, threads);
    case Type::f16: return step_as<Float16>(f, threads);
  }
}

}  // namespace

#define AAREN_JOIN(a, b) a##b
#define AAREN_JOINED(a, b) AAREN_JOIN(a, b)
#define AAREN_STRING(x) #x
#define AAREN_NAME(x) AAREN_STRING(x)

void AAREN_JOINED(layer_step_, AAREN_ISA)(const LayerStep&);        // layer.cpp
void AAREN_JOINED(forecast_step_, AAREN_ISA)(const ForecastStep&);  // forecast.cpp
extern const Kernels AAREN_ISA;
const Kernels AAREN_ISA = {AAREN_NAME(AAREN_ISA),
                           forward,
                           backward,
                           step,
                           AAREN_JOINED(layer_step_, AAREN_ISA),
                           AAREN_JOINED(forecast_step_, AAREN_ISA)};

}  // namespace aaren
