// Vectors by the compiler's vector extension: loads and stores of four dtypes, sums over lanes, and exp.
//
// Included by kernel.cpp alone, which is compiled once for each instruction set: everything here has internal linkage,
// so that code of one instruction set can never stand in for that of another.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace aaren {
namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

template <typename E>
constexpr int kLanes = kBytes / sizeof(E);

typedef float Floats __attribute__((vector_size(kBytes)));
typedef double Doubles __attribute__((vector_size(kBytes)));
typedef int64_t Bits64 __attribute__((vector_size(kBytes)));
typedef uint32_t Bits32 __attribute__((vector_size(kBytes)));
typedef int32_t Signed32 __attribute__((vector_size(kBytes)));
typedef uint16_t Bits16 __attribute__((vector_size(kBytes / 2)));

template <typename E>
using Vec = std::conditional_t<std::is_same_v<E, double>, Doubles, Floats>;

struct BFloat16 { uint16_t bits; };
struct Float16 { uint16_t bits; };

// In what a dtype is computed within a block of tokens; between blocks it is double for all.
template <typename T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

inline Doubles splat(double x) { return x - Doubles{}; }

template <typename To, typename From>
inline To bit_cast(From x) {
  static_assert(sizeof(To) == sizeof(From), "a cast of bits keeps the size");
  To y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}

inline Bits32 choose(Signed32 condition, Bits32 yes, Bits32 no) {
  const Bits32 mask = (Bits32)condition;
  return (yes & mask) | (no & ~mask);
}

// From what lies in memory to what is computed with, and back, rounding to the nearest, ties to even.
template <typename T>
struct Format {  // float and double lie in memory as they are computed with
  using Raw = Vec<T>;
  static Raw widen(Raw x) { return x; }
  static Raw narrow(Raw x) { return x; }
};

template <>
struct Format<BFloat16> {
  using Raw = Bits16;
  static Floats widen(Raw x) { return bit_cast<Floats>(__builtin_convertvector(x, Bits32) << 16); }
  static Raw narrow(Floats x) {
    const Bits32 f = bit_cast<Bits32>(x);
    const Bits32 rounded = (f + (0x7fffu + ((f >> 16) & 1u))) >> 16;
    const Signed32 nan = (Signed32)(f & 0x7fffffffu) > 0x7f800000;
    return __builtin_convertvector(choose(nan, (f >> 16) | 0x40u, rounded), Bits16);
  }
};

template <>
struct Format<Float16> {
  using Raw = Bits16;
  static Floats widen(Raw x) {
    const Bits32 h = __builtin_convertvector(x, Bits32);
    const Bits32 sign = (h & 0x8000u) << 16, magnitude = (h & 0x7fffu) << 13;
    // the biases of the exponents differ by 112; a product with 2^112 moves it, subnormal numbers included
    const Bits32 finite = bit_cast<Bits32>(bit_cast<Floats>(magnitude) * 0x1p112f);
    const Signed32 special = (Signed32)(h & 0x7fffu) >= 0x7c00;
    return bit_cast<Floats>(sign | choose(special, magnitude | 0x7f800000u, finite));
  }
  static Raw narrow(Floats x) {
    const Bits32 f = bit_cast<Bits32>(x);
    const Bits32 sign = (f >> 16) & 0x8000u, magnitude = f & 0x7fffffffu;
    const Signed32 m = (Signed32)magnitude;
    const Bits32 normal = (magnitude - (112u << 23) + (0xfffu + ((magnitude >> 13) & 1u))) >> 13;
    // subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits
    const Bits32 small = bit_cast<Bits32>(bit_cast<Floats>(magnitude) + 0.5f) - 0x3f000000u;
    Bits32 h = choose(m < 0x38800000, small, normal);
    h = choose(m >= 0x477ff000, Bits32{} + 0x7c00u, h);
    h = choose(m > 0x7f800000, Bits32{} + 0x7e00u, h);
    return __builtin_convertvector(sign | h, Bits16);
  }
};

template <typename T>
inline Vec<Compute<T>> load(const T* from) {
  typename Format<T>::Raw raw;
  std::memcpy(&raw, from, sizeof raw);
  return Format<T>::widen(raw);
}

template <typename T>
inline void store(T* to, Vec<Compute<T>> x) {
  const typename Format<T>::Raw raw = Format<T>::narrow(x);
  std::memcpy(to, &raw, sizeof raw);
}

// The same for the first `count` lanes only; the others read as 0 and are not written.
template <typename T>
inline Vec<Compute<T>> load_some(const T* from, int count) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>)
    return bit_cast<Floats>(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from));
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return bit_cast<Floats>(_mm256_maskload_ps(from, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane)));
  }
#endif
  T padded[kLanes<Compute<T>>] = {};
  for (int i = 0; i < count; ++i) padded[i] = from[i];
  return load(padded);
}

template <typename T>
inline void store_some(T* to, Vec<Compute<T>> x, int count) {
  T padded[kLanes<Compute<T>>];
  store(padded, x);
  for (int i = 0; i < count; ++i) to[i] = padded[i];
}

// Stores past the caches, for aligned results that are larger than the caches: nothing is read before it is written.
#if defined(__x86_64__)
template <typename T>
constexpr bool kCanBypass = sizeof(T) >= 4;

template <typename T>
inline void store_past_caches(T* to, Vec<Compute<T>> x) {
#if defined(__AVX512F__)
  if constexpr (kCanBypass<T>) return _mm512_stream_si512(reinterpret_cast<__m512i*>(to), bit_cast<__m512i>(x));
#elif defined(__AVX2__)
  if constexpr (kCanBypass<T>) return _mm256_stream_si256(reinterpret_cast<__m256i*>(to), bit_cast<__m256i>(x));
#else
  if constexpr (kCanBypass<T>) return _mm_stream_si128(reinterpret_cast<__m128i*>(to), bit_cast<__m128i>(x));
#endif
  store(to, x);
}

inline void finish_bypass() { _mm_sfence(); }
#else
template <typename T>
constexpr bool kCanBypass = false;

template <typename T>
inline void store_past_caches(T* to, Vec<Compute<T>> x) { store(to, x); }

inline void finish_bypass() {}
#endif

// The sum of all lanes, halves by halves, in registers: through memory it takes three times as long.
template <typename V>
inline double sum(V x) {
  using E = std::remove_reference_t<decltype(x[0])>;
  if constexpr (sizeof(V) > 16) {
    typedef E Half __attribute__((vector_size(sizeof(V) / 2)));
    Half half[2];
    std::memcpy(half, &x, sizeof x);
    return sum(half[0] + half[1]);
  } else if constexpr (sizeof(V) / sizeof(E) == 4) {
    return (x[0] + x[2]) + (x[1] + x[3]);
  } else {
    return x[0] + x[1];
  }
}

// exp(x) for x <= 0 within an ulp or two; exactly 1 at 0, 0 below -708, NaN for NaN.
// Range reduction by ln 2 in two parts (Cody and Waite), then the Taylor polynomial on |r| <= ln(2) / 2.
inline Doubles exp_of_nonpositive(Doubles x) {
  const Doubles magic = splat(0x1.8p52);
  const Doubles shifted = x * 0x1.71547652b82fep0 + magic;
  const Doubles n = shifted - magic;
  const Doubles r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
  Doubles p = splat(1.0 / 6227020800.0);
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const Bits64 exponent = (bit_cast<Bits64>(shifted) - bit_cast<Bits64>(magic) + 1023) << 52;
  const Doubles y = p * bit_cast<Doubles>(exponent);
  return bit_cast<Doubles>(bit_cast<Bits64>(y) & ~(Bits64)(x < splat(-708.0)));
}

}  // namespace
}  // namespace aaren
