
/* One token of one head. With the decay g <= 0 of what came before, a score s and a value v:
 *     m' = max(m + g, s),  u' = u e^(m + g - m') + e^(s - m'),  w' = w e^(m + g - m') + e^(s - m') v,  output w' / u'
 * m, u, w: max_score, normalizer, weighted_sum. output may be value. */
#if @NAME@_DOUBLE
static void attend(@name@_attention *kept, int head, float score, float log_decay, const float *value, float *output)
{
    const double faded = kept->max_score[head] + (double)log_decay, now = (double)score;
    double past = 1, weight = 1;
    if (faded >= now)
        weight = exp(now - faded);
    else
        past = exp(faded - now);
    const double normalizer = kept->normalizer[head] * past + weight, share = 1 / normalizer;
    double *sum = kept->weighted_sum + head * HEAD_DIM;
    kept->max_score[head] = faded >= now ? faded : now;
    kept->normalizer[head] = normalizer;
    for (int i = 0; i < HEAD_DIM; i++) {
        sum[i] = sum[i] * past + weight * (double)value[i];
        output[i] = (float)(sum[i] * share);
    }
}
#else
/* a + b as high, the nearest float, and what it lacks is added to low (Knuth); then the two are made disjoint. */
static void add(float *high, float *low, float b)
{
    const float a = *high, sum = a + b, part = sum - a;
    const float rest = *low + ((a - (sum - part)) + (b - part));
    *high = sum + rest;
    *low = rest - (*high - sum);
}

/* What the float product a * b lacks, exactly. */
static float product_rest(float a, float b, float rounded)
{
#if defined(FP_FAST_FMAF) || defined(__FP_FAST_FMAF) || defined(__ARM_FEATURE_FMA)
    return fmaf(a, b, -rounded);
#else
    const float x = 4097 * a, y = 4097 * b; /* Dekker: halves of 12 bits */
    const float a1 = x - (x - a), b1 = y - (y - b), a2 = a - a1, b2 = b - b1;
    return a2 * b2 - (((rounded - a1 * b1) - a2 * b1) - a1 * b2);
#endif
}

static void scale(float *high, float *low, float by)
{
    const float rounded = *high * by, rest = *low * by + product_rest(*high, by, rounded);
    *high = rounded + rest;
    *low = rest - (*high - rounded);
}

static void attend(@name@_attention *kept, int head, float score, float log_decay, const float *value, float *output)
{
    const float before = kept->max_score[head], faded = before + log_decay;
    float *u = kept->normalizer + head, *u_low = kept->normalizer_low + head;
    float *w = kept->weighted_sum + head * HEAD_DIM, *w_low = kept->weighted_sum_low + head * HEAD_DIM;
    float weight = 1, past = 1, lost = 0;
    if (before > -INFINITY) { /* what rounding took from before + log_decay */
        const float part = faded - before;
        lost = (before - (faded - part)) + (log_decay - part);
    }
    if (faded >= score)
        weight = expf(score - faded);
    else
        past = expf((faded - score) + lost);
    kept->max_score[head] = faded >= score ? faded : score;
    if (faded >= score) {
        *u_low += *u * lost;
        for (int i = 0; i < HEAD_DIM; i++)
            w_low[i] += w[i] * lost;
    } else {
        scale(u, u_low, past);
        for (int i = 0; i < HEAD_DIM; i++)
            scale(w + i, w_low + i, past);
    }
    add(u, u_low, weight);
    const float share = 1 / *u;
    for (int i = 0; i < HEAD_DIM; i++) {
        add(w + i, w_low + i, weight * value[i]);
        output[i] = w[i] * share;
    }
}
#endif

#if @NAME@_DOUBLE
#define NOTHING (-(double)INFINITY) /* the score of no token at all */
#else
#define NOTHING (-INFINITY)
#endif

static void begin_layer(@name@_attention *kept)
{
    memset(kept, 0, sizeof *kept);
    for (int head = 0; head < HEADS; head++)
        kept->max_score[head] = NOTHING;
}

static int attention_is_sound(const @name@_attention *kept)
{
    int sound = 1;
    for (int head = 0; head < HEADS; head++) {
        const int none = kept->max_score[head] <= NOTHING && !(kept->normalizer[head] > 0);
        sound &= none || isfinite(kept->max_score[head]);
        sound &= isfinite(kept->normalizer[head]) && (none ? kept->normalizer[head] >= 0 : kept->normalizer[head] > 0);
    }
    for (int i = 0; i < D; i++)
        sound &= isfinite(kept->weighted_sum[i]);
#if !@NAME@_DOUBLE
    for (int head = 0; head < HEADS; head++)
        sound &= isfinite(kept->normalizer_low[head]);
    for (int i = 0; i < D; i++)
        sound &= isfinite(kept->weighted_sum_low[i]);
#endif
    return sound;
}
