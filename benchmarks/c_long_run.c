/* The kept state of the generated C against float64 over a long stream: argument 1 is the number of steps, 2 the
 * log-decay of each. Includes the source itself, for the static function `attend`. Prints one line of JSON:
 * the largest error of an output, over every thousandth step and the last. */
#include "model.c"

#include <stdio.h>
#include <stdlib.h>

static uint64_t seed = 88172645463325252u;

static double uniform(void) /* xorshift64 */
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static float normal_number(void)
{
    double sum = 0;
    for (int k = 0; k < 12; k++)
        sum += uniform();
    return (float)(sum - 6);
}

int main(int count, char **words)
{
    static model_attention kept;
    double top = -(double)INFINITY, normalizer = 0, sums[HEAD_DIM] = {0}, worst = 0, last = 0;
    const long steps = count > 1 ? atol(words[1]) : 1000000;
    const float decay = count > 2 ? (float)atof(words[2]) : 0;
    float table[4096], value[HEAD_DIM], output[HEAD_DIM];
    for (int k = 0; k < 4096; k++)
        table[k] = normal_number();
    begin_layer(&kept);
    for (long step = 1; step <= steps; step++) {
        const float score = 1.5f * table[(size_t)(uniform() * 4096)];
        const size_t from = (size_t)(uniform() * (4096 - HEAD_DIM));
        for (int i = 0; i < HEAD_DIM; i++)
            value[i] = table[from + (size_t)i] + 0.5f; /* a mean that is not 0 */
        attend(&kept, 0, score, decay, value, output);

        const double faded = top + (double)decay, now = (double)score;
        const double before = faded >= now ? 1 : exp(faded - now), weight = faded >= now ? exp(now - faded) : 1;
        top = faded >= now ? faded : now;
        normalizer = normalizer * before + weight;
        last = 0;
        for (int i = 0; i < HEAD_DIM; i++) {
            sums[i] = sums[i] * before + weight * (double)value[i];
            if (step % 1000 == 0 || step == steps)
                last = fmax(last, fabs((double)output[i] - sums[i] / normalizer));
        }
        worst = fmax(worst, last);
    }
    printf("{\"steps\": %ld, \"log_decay\": %g, \"double\": %d, \"largest_error\": %.3g, \"last_error\": %.3g}\n", steps,
           (double)decay, MODEL_DOUBLE, worst, last);
    return 0;
}
