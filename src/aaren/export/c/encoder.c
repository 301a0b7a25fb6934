
typedef struct linear {
//? int8
    const int8_t *weight;
    const float *scale;
//:
    const float *weight;
//.
    const float *bias;
} linear;

typedef struct layer {
    linear value, out, first, second;
    const float *query; /* the learned query through the key projection: one row of scores for each head */
    const float *norm1_weight, *norm1_bias, *norm2_weight, *norm2_bias;
    const float *decay; /* rate of each head */
} layer;

@layer_table@
//? norm_first
static const float *const final_norm_weight = @final_norm_weight@, *const final_norm_bias = @final_norm_bias@;
//.

static void apply(const linear *by, const float *x, int inputs, int outputs, float *y)
{
//? int8
    product_int8(by->weight, by->scale, by->bias, x, inputs, PADDED(outputs), y);
//:
    product(by->weight, by->bias, x, inputs, PADDED(outputs), y);
//.
}

static float sum_of(const float *x, int size)
{
    const int whole = size / BLOCK * BLOCK;
    float sums[BLOCK] = {0}, sum = 0;
    for (int i = 0; i < whole; i += BLOCK)
        for (int k = 0; k < BLOCK; k++)
            sums[k] += x[i + k];
    for (int i = whole; i < size; i++)
        sum += x[i];
    return sum + (((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7])));
}

/* y = layer norm of x; y may be x. */
static void normalise(const float *x, const float *weight, const float *bias, float *y)
{
    float squares[D];
    const float mean = sum_of(x, D) / (float)D;
    for (int i = 0; i < D; i++) {
        y[i] = x[i] - mean;
        squares[i] = y[i] * y[i];
    }
    const float by = 1 / sqrtf(sum_of(squares, D) / (float)D + 1e-5f);
    for (int i = 0; i < D; i++)
        y[i] = y[i] * by * weight[i] + bias[i];
}

//? gelu
/* x Phi(x), with erf(x / sqrt 2) as a quotient of polynomials (error below 3e-7), which compilers vectorise. */
static void activate(float *x, int size)
{
    for (int i = 0; i < size; i++) {
        float z = x[i] * 0.70710678f;
        z = z < -4 ? -4 : (z > 4 ? 4 : z);
        const float s = z * z;
        float p = -2.72614225801306e-10f;
        p = p * s + 2.77068142495902e-08f;
        p = p * s - 2.10102402082508e-06f;
        p = p * s - 5.69250639462346e-05f;
        p = p * s - 7.34990630326855e-04f;
        p = p * s - 2.95459980854025e-03f;
        p = p * s - 1.60960333262415e-02f;
        float q = -1.45660718464996e-05f;
        q = q * s - 2.13374055278905e-04f;
        q = q * s - 1.68282697438203e-03f;
        q = q * s - 7.37332916720468e-03f;
        q = q * s - 1.42647390514189e-02f;
        x[i] = 0.5f * x[i] * (1 + z * p / q);
    }
}
//:
static void activate(float *x, int size)
{
    for (int i = 0; i < size; i++)
        x[i] = x[i] < 0 ? 0 : x[i]; /* NaN stays */
}
//.

/* One token through one layer, in place. */
static void through_layer(const layer *by, @name@_attention *kept, float *x, float elapsed)
{
    float y[PADDED(D)] ALIGNED, z[PADDED(D)] ALIGNED, scores[PADDED(HEADS)] ALIGNED;
    float hidden[PADDED(FEEDFORWARD)] ALIGNED;
//? norm_first
    const float *input = y;
    normalise(x, by->norm1_weight, by->norm1_bias, y);
//:
    const float *input = x;
//.
    product(by->query, 0, input, D, PADDED(HEADS), scores);
    apply(&by->value, input, D, D, z);
    for (int head = 0; head < HEADS; head++) {
        float *value = z + head * HEAD_DIM;
//? decay
        attend(kept, head, scores[head], -by->decay[head] * elapsed, value, value);
//:
        attend(kept, head, scores[head], 0, value, value);
//.
    }
    apply(&by->out, z, D, D, y);
    for (int i = 0; i < D; i++)
        x[i] += y[i];
//? norm_first
    normalise(x, by->norm2_weight, by->norm2_bias, y);
    apply(&by->first, y, D, FEEDFORWARD, hidden);
//:
    normalise(x, by->norm1_weight, by->norm1_bias, x);
    apply(&by->first, x, D, FEEDFORWARD, hidden);
//.
    activate(hidden, FEEDFORWARD);
    apply(&by->second, hidden, FEEDFORWARD, D, y);
    for (int i = 0; i < D; i++)
        x[i] += y[i];
//? !norm_first
    normalise(x, by->norm2_weight, by->norm2_bias, x);
//.
//? !decay
    (void)elapsed;
//.
}

/* One token through all layers, in place; `added`, if there is any, is added before each. */
static void encode(@name@_attention *kept, float *x, float elapsed, const float *added)
{
    for (int l = 0; l < LAYERS; l++) {
        if (added)
            for (int i = 0; i < D; i++)
                x[i] += added[i];
        through_layer(&layers[l], kept + l, x, elapsed);
    }
//? norm_first
    normalise(x, final_norm_weight, final_norm_bias, x);
//.
}
