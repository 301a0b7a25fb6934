
/* Probabilities of logits, each divided by a temperature. */
static int softmax(const float *logits, int size, double temperature, double *probabilities)
{
    double largest = -(double)INFINITY, sum = 0;
    for (int i = 0; i < size; i++) {
        if (!isfinite(logits[i]))
            return @NAME@_ERROR_NOT_FINITE;
        largest = fmax(largest, (double)logits[i]);
    }
    for (int i = 0; i < size; i++)
        sum += probabilities[i] = exp(((double)logits[i] - largest) / temperature);
    for (int i = 0; i < size; i++)
        probabilities[i] /= sum;
    return @NAME@_OK;
}
