
/* y[o] = bias[o] + sum over i of weight[o][i] x[i], for whole blocks of outputs; no bias if it is 0.
 * A block's weights are read once from front to back, 8 outputs for each input, so nothing has to be summed across
 * a vector and compilers vectorise it without leave to reorder sums. */
static void product(const float *weight, const float *bias, const float *x, int inputs, int outputs, float *y)
{
    int o = 0;
#if VECTORS
    /* four vectors at once, enough to hide the time that an addition takes */
    const size_t block = (size_t)inputs * BLOCK, second = LANES == BLOCK ? block : (size_t)LANES;
    const size_t third = LANES == BLOCK ? 2 * block : block, fourth = second + third;
    for (; o + 4 * LANES <= outputs; o += 4 * LANES) {
        const float *w = weight + (size_t)o * (size_t)inputs;
        vector a = {0}, b = {0}, c = {0}, d = {0};
        for (int i = 0; i < inputs; i++, w += BLOCK) {
            a += x[i] * *(const vector *)w;
            b += x[i] * *(const vector *)(w + second);
            c += x[i] * *(const vector *)(w + third);
            d += x[i] * *(const vector *)(w + fourth);
        }
        *(vector *)(y + o) = a;
        *(vector *)(y + o + LANES) = b;
        *(vector *)(y + o + 2 * LANES) = c;
        *(vector *)(y + o + 3 * LANES) = d;
    }
#endif
    for (; o < outputs; o += BLOCK) {
        const float *w = weight + (size_t)o * (size_t)inputs;
        float sum[BLOCK] = {0};
        for (int i = 0; i < inputs; i++, w += BLOCK)
            for (int k = 0; k < BLOCK; k++)
                sum[k] += x[i] * w[k];
        for (int k = 0; k < BLOCK; k++)
            y[o + k] = sum[k];
    }
    if (bias)
        for (int k = 0; k < outputs; k++)
            y[k] += bias[k];
}
