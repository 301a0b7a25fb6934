
/* Mean and deviation of the inputs in the training part, in the user's units. */
static const double input_mean[@scaled@] = {@input_mean@};
static const double input_deviation[@scaled@] = {@input_deviation@};

/* The inputs in training deviations; 0 if one is infinite or too large for float. NaN stays, where `missing` may be. */
static int scaled(const double *values, int size, int missing, float *x)
{
    for (int i = 0; i < size; i++) {
        const double value = (values[i] - input_mean[i]) / input_deviation[i];
        if (!(fabs(value) <= (double)FLT_MAX) && !(missing && isnan(value)))
            return 0;
        x[i] = (float)value;
    }
    return 1;
}
