
/* Mean and deviation of the inputs in the training part, in the user's units. */
static const double input_mean[@scaled@] = {@input_mean@};
static const double input_deviation[@scaled@] = {@input_deviation@};

/* Training deviations from the mean within which a number is taken; the norms of the layers square it in float. */
#define LARGEST_SCALED 1e15

/* The inputs in training deviations; 0 if one is infinite or too far. NaN stays, where `missing` may be. */
static int scaled(const double *values, int size, int missing, float *x)
{
    for (int i = 0; i < size; i++) {
        const double value = (values[i] - input_mean[i]) / input_deviation[i];
        if (!(fabs(value) <= LARGEST_SCALED) && !(missing && isnan(value)))
            return 0;
        x[i] = (float)value;
    }
    return 1;
}
