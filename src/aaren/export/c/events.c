
enum { COMPONENTS = @NAME@_COMPONENTS };

@mark_table@
@interval_table@
@head_table@

static const double unit = @unit@;          /* mean training interval, in the user's unit */
static const double log_mean = @log_mean@, log_deviation = @log_deviation@;
static const double longest = @longest@;    /* training interval, in units */
static const double least = @floor@; /* what an interval of 0 counts as */
//? marks

const char *const @name@_marks[@NAME@_MARKS] = {@mark_names@};

int @name@_find_mark(const char *text, int *mark)
{
    if (!text || !mark)
        return @NAME@_ERROR_POINTER;
    for (int k = 0; k < @NAME@_MARKS; k++)
        if (!strcmp(text, @name@_marks[k])) {
            *mark = k;
            return @NAME@_OK;
        }
    return @NAME@_ERROR_MARK;
}
//.

/* Phi(z), and its logarithm, by a series where it is too small for a double. */
static double normal(double z)
{
    return 0.5 * erfc(-z * 0.70710678118654752440);
}

static double log_normal(double z)
{
    const double s = 1 / (z * z);
    if (z > -20)
        return log(normal(z));
    return -0.5 * z * z - log(-z) - 0.91893853320467274178 + log1p(s * (-1 + s * (3 - s * 15)));
}

static double restricted_mean(const @name@_expected *of)
{
    double mean = 0;
    for (int k = 0; k < COMPONENTS; k++) {
        const double location = of->locations[k], deviation = of->scales[k];
        const double z = (log(longest) - location) / deviation;
        mean += exp(of->log_weights[k] + location + 0.5 * deviation * deviation + log_normal(z - deviation));
        mean += exp(of->log_weights[k]) * longest * normal(-z);
    }
    return mean;
}

int @name@_quantile(const @name@_expected *expected, double level, double *interval)
{
    double low = (double)INFINITY, high = -low;
    if (!expected || !interval)
        return @NAME@_ERROR_POINTER;
    if (!(level > 0 && level < 1))
        return @NAME@_ERROR_LEVEL;
    for (int k = 0; k < COMPONENTS; k++) { /* Phi(-38) is the least double */
        low = fmin(low, expected->locations[k] - 38 * expected->scales[k]);
        high = fmax(high, expected->locations[k] + 38 * expected->scales[k]);
    }
    if (!isfinite(low) || !isfinite(high))
        return @NAME@_ERROR_NOT_FINITE;
    for (int halving = 0; halving < 60; halving++) {
        const double middle = 0.5 * (low + high);
        double below = 0;
        for (int k = 0; k < COMPONENTS; k++)
            below += exp(expected->log_weights[k]) * normal((middle - expected->locations[k]) / expected->scales[k]);
        if (below < level)
            low = middle;
        else
            high = middle;
    }
    *interval = exp(0.5 * (low + high)) * unit;
    return @NAME@_OK;
}

/* The mixture and the marks that an output of the encoder stands for. */
static int distribution(const float *hidden, @name@_expected *expected)
{
    float raw[PADDED(3 * COMPONENTS)] ALIGNED;
    double largest = -(double)INFINITY, sum = 0;
    product(interval_weight, interval_bias, hidden, D, PADDED(3 * COMPONENTS), raw);
    for (int k = 0; k < COMPONENTS; k++)
        largest = fmax(largest, (double)raw[k]);
    for (int k = 0; k < COMPONENTS; k++)
        sum += exp((double)raw[k] - largest);
    for (int k = 0; k < COMPONENTS; k++) {
        const double location = (double)raw[COMPONENTS + k], size = (double)raw[2 * COMPONENTS + k];
        if (!isfinite(location) || !isfinite(size) || !isfinite(raw[k]))
            return @NAME@_ERROR_NOT_FINITE;
        expected->log_weights[k] = (double)raw[k] - largest - log(sum);
        expected->locations[k] = log_mean + log_deviation * location;
        expected->scales[k] = log_deviation * exp(size < -5 ? -5 : (size > 1 ? 1 : size));
    }
//? marks
    float logits[PADDED(@NAME@_MARKS)] ALIGNED;
    product(head_weight, head_bias, hidden, D, PADDED(@NAME@_MARKS), logits);
    if (softmax(logits, @NAME@_MARKS, 1, expected->mark_probabilities))
        return @NAME@_ERROR_NOT_FINITE;
//.
    return @NAME@_OK;
}

/* Log-density of an interval in units, per unit of the user. */
static double log_density(const @name@_expected *of, double interval)
{
    double terms[COMPONENTS], largest = -(double)INFINITY, sum = 0;
    for (int k = 0; k < COMPONENTS; k++) {
        const double z = (log(interval) - of->locations[k]) / of->scales[k];
        terms[k] = of->log_weights[k] - 0.5 * z * z - log(of->scales[k]) - 0.91893853320467274178;
        largest = fmax(largest, terms[k]);
    }
    for (int k = 0; k < COMPONENTS; k++)
        sum += exp(terms[k] - largest);
    return largest + log(sum) - log(interval) - log(unit);
}

/* One event at a time since the start, in units. */
static int advance(@name@_state *state, double time, int mark, @name@_expected *expected)
{
    float token[PADDED(D)] ALIGNED, added[PADDED(D)] = {0};
    const double interval = state->begun ? time - state->elapsed : 0, floored = interval > 0 ? interval : least;
    double likelihood = (double)NAN;
    int error = @NAME@_OK;
    if (state->begun) {
        error = distribution(state->hidden, expected);
        likelihood = log_density(expected, floored);
//? marks
        likelihood += log(expected->mark_probabilities[mark]);
//.
    }
    memcpy(token, mark_weight + (size_t)mark * D, D * sizeof *token);
//? intervals
    float features[2] = {0, 0}, embedded[PADDED(D)] ALIGNED;
    if (state->begun) {
        features[0] = (float)((log(floored) - log_mean) / log_deviation);
        features[1] = 1;
    }
    product(embed_weight, embed_bias, features, 2, PADDED(D), embedded);
    for (int i = 0; i < D; i++)
        token[i] += embedded[i];
//.
    add_positions(time, added);
//? decay_time
    encode(state->encoder, token, (float)interval, added);
//:
    encode(state->encoder, token, 1, added);
//.
    memcpy(state->hidden, token, sizeof state->hidden);
    state->elapsed = time;
    state->begun = 1;
    if (!error)
        error = distribution(token, expected);
    if (!error)
        error = @name@_quantile(expected, 0.5, &expected->median);
    expected->mean = restricted_mean(expected) * unit;
    expected->log_likelihood = likelihood;
    return error;
}

/* Whether an event may come at a time since the start, in units. */
static int order(const @name@_state *state, double time)
{
    if (!(fabs(time) < 1e15)) /* mean intervals: beyond it a double does not tell two events apart */
        return @NAME@_ERROR_TIME;
    if (state->begun && !(time @comparison@ state->elapsed))
        return @NAME@_ERROR_ORDER;
    return @NAME@_OK;
}

static int take(@name@_state *state, double start, double time, double elapsed, int mark, @name@_expected *expected)
{
    @name@_state next = *state;
    @name@_expected said;
    int error = order(state, elapsed);
    if (mark < 0 || mark >= @mark_count@)
        error = @NAME@_ERROR_MARK;
    if (!error)
        error = advance(&next, elapsed, mark, &said);
    if (error)
        return error;
    next.start = start;
    next.time = time;
    *state = next;
    *expected = said;
    return @NAME@_OK;
}

int @name@_init(@name@_state *state)
{
    if (!state)
        return @NAME@_ERROR_POINTER;
    memset(state, 0, sizeof *state);
    for (int l = 0; l < LAYERS; l++)
        begin_layer(state->encoder + l);
    return @NAME@_OK;
}

int @name@_step(@name@_state *state, double interval, @mark_parameter@@name@_expected *expected)
{
    if (!state || !expected)
        return @NAME@_ERROR_POINTER;
    if (!state->begun)
        return take(state, 0, 0, 0, @mark_argument@, expected);
    if (!(interval >= 0) || !isfinite(interval))
        return @NAME@_ERROR_ORDER;
    return take(state, state->start, state->time + interval, state->elapsed + interval / unit, @mark_argument@,
                expected);
}

int @name@_update(@name@_state *state, double time, @mark_parameter@@name@_expected *expected)
{
    if (!state || !expected)
        return @NAME@_ERROR_POINTER;
    if (!isfinite(time))
        return @NAME@_ERROR_TIME;
    const double start = state->begun ? state->start : time;
    if (state->begun && !(time @comparison@ state->time))
        return @NAME@_ERROR_ORDER;
    return take(state, start, time, (time - start) / unit, @mark_argument@, expected);
}

int @name@_check(const @name@_state *state)
{
    if (!state)
        return @NAME@_ERROR_POINTER;
    int sound = state->begun == 0 || state->begun == 1;
    sound &= isfinite(state->start) && isfinite(state->time) && fabs(state->elapsed) < 1e15;
    for (int i = 0; i < D; i++)
        sound &= isfinite(state->hidden[i]);
    for (int l = 0; l < LAYERS; l++)
        sound &= attention_is_sound(state->encoder + l);
    return sound ? @NAME@_OK : @NAME@_ERROR_STATE;
}

static void exchange(@name@_state *state, record *with)
{
    exchange_doubles(&state->start, 1, with);
    exchange_doubles(&state->time, 1, with);
    exchange_doubles(&state->elapsed, 1, with);
    exchange_i64(&state->begun, with);
    exchange_floats(state->hidden, D, with);
    exchange_encoder(state->encoder, with);
}
