
#if defined(__AVX2__) && !defined(AAREN_PLAIN)
#include <immintrin.h>
#endif

/* The sums of products of whole numbers: weights in blocks of 8 outputs, and inside in pairs of inputs. Exact. */
#if defined(__AVX2__) && !defined(AAREN_PLAIN)
static __m256i eight_sums(const int8_t *w, int32_t both, __m256i sum)
{
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)w));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(wide, _mm256_set1_epi32(both)));
}

static void whole_sums(const int8_t *weight, const int16_t *x, int pairs, int outputs, int32_t *sums)
{
    const size_t stride = (size_t)pairs * 2 * BLOCK;
    int o = 0;
    for (; o + 4 * BLOCK <= outputs; o += 4 * BLOCK) {
        const int8_t *w = weight + (size_t)(o / BLOCK) * stride;
        __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
        for (int p = 0; p < pairs; p++, w += 2 * BLOCK) {
            int32_t both;
            memcpy(&both, x + 2 * p, sizeof both);
            a = eight_sums(w, both, a);
            b = eight_sums(w + stride, both, b);
            c = eight_sums(w + 2 * stride, both, c);
            d = eight_sums(w + 3 * stride, both, d);
        }
        _mm256_storeu_si256((__m256i *)(void *)(sums + o), a);
        _mm256_storeu_si256((__m256i *)(void *)(sums + o + BLOCK), b);
        _mm256_storeu_si256((__m256i *)(void *)(sums + o + 2 * BLOCK), c);
        _mm256_storeu_si256((__m256i *)(void *)(sums + o + 3 * BLOCK), d);
    }
    for (; o < outputs; o += BLOCK) {
        const int8_t *w = weight + (size_t)(o / BLOCK) * stride;
        __m256i a = _mm256_setzero_si256();
        for (int p = 0; p < pairs; p++, w += 2 * BLOCK) {
            int32_t both;
            memcpy(&both, x + 2 * p, sizeof both);
            a = eight_sums(w, both, a);
        }
        _mm256_storeu_si256((__m256i *)(void *)(sums + o), a);
    }
}
#else
static void whole_sums(const int8_t *weight, const int16_t *x, int pairs, int outputs, int32_t *sums)
{
    for (int o = 0; o < outputs; o += BLOCK) {
        const int8_t *w = weight + (size_t)o * (size_t)pairs * 2;
        int32_t sum[BLOCK] = {0};
        for (int p = 0; p < pairs; p++, w += 2 * BLOCK)
            for (int k = 0; k < BLOCK; k++)
                sum[k] += w[2 * k] * x[2 * p] + w[2 * k + 1] * x[2 * p + 1];
        for (int k = 0; k < BLOCK; k++)
            sums[o + k] = sum[k];
    }
}
#endif

enum { WIDEST = FEEDFORWARD > D ? FEEDFORWARD : D };

/* y = bias + weight x with int8 weights, one scale for each output, and the inputs rounded to int8 by their largest. */
static void product_int8(const int8_t *weight, const float *scale, const float *bias, const float *x, int inputs,
                         int outputs, float *y)
{
    int16_t rounded[PADDED(WIDEST)] ALIGNED;
    int32_t sums[PADDED(WIDEST)] ALIGNED;
    const int whole = inputs / BLOCK * BLOCK;
    float sizes[BLOCK] = {0}, poisons[BLOCK] = {0}, largest = 0, poison = 0;
    for (int i = 0; i < whole; i += BLOCK)
        for (int k = 0; k < BLOCK; k++) {
            const float size = fabsf(x[i + k]);
            sizes[k] = size > sizes[k] ? size : sizes[k];
            poisons[k] += 0 * size; /* NaN if x is not finite */
        }
    for (int i = whole; i < inputs; i++) {
        sizes[i - whole] = fabsf(x[i]) > sizes[i - whole] ? fabsf(x[i]) : sizes[i - whole];
        poison += 0 * x[i];
    }
    for (int k = 0; k < BLOCK; k++) {
        largest = sizes[k] > largest ? sizes[k] : largest;
        poison += poisons[k];
    }
    const float back = largest / 127 + poison, there = largest > 0 ? 127 / largest : 0;
    for (int i = 0; i < inputs; i++) {
        float value = x[i] * there;
        value = value > 127 ? 127 : (value > -127 ? value : -127);
        rounded[i] = (int16_t)(int32_t)(value + (value < 0 ? -0.5f : 0.5f));
    }
    if (inputs % 2)
        rounded[inputs] = 0;
    whole_sums(weight, rounded, (inputs + 1) / 2, outputs, sums);
    for (int o = 0; o < outputs; o++)
        y[o] = (float)sums[o] * (scale[o] * back) + (bias ? bias[o] : 0);
}
