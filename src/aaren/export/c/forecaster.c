
enum {
    INPUTS = @NAME@_INPUTS,
    TARGETS = @NAME@_TARGETS,
    HORIZON = @NAME@_HORIZON,
    OUTPUTS = @outputs@, /* for each target and step: the mean, then the quantiles */
    FEATURES = @features@
};

@embed_table@
@head_table@
//? highway
static const float highway_weight[HORIZON][@NAME@_ROWS] = {@highway_weight@};
//.

/* Running mean and deviation of the observed values, older ones fading with a half-life of @half_life@ tokens. */
static void running_norm(@name@_state *state, const float *x, float *mean, float *deviation)
{
    for (int i = 0; i < INPUTS; i++) {
        double *sum = state->norm_weighted_sum[i];
        if (isfinite(x[i])) {
            const double value = (double)x[i];
            state->norm_normalizer[i] = state->norm_normalizer[i] * @fading@ + 1;
            sum[0] = sum[0] * @fading@ + value;
            sum[1] = sum[1] * @fading@ + value * value;
        }
        const double center = sum[0] / state->norm_normalizer[i];
        const double variance = sum[1] / state->norm_normalizer[i] - center * center;
        mean[i] = (float)center;
        deviation[i] = (float)sqrt((variance < 0 ? 0 : variance) + 1e-4);
    }
}
//? highway

/* The linear forecast from the last rows, relative to the last known value (arXiv 1703.07015, section 3.6). */
static void through_highway(@name@_state *state, const float *x, const float *mean, float base[HORIZON][TARGETS])
{
    const int rows = @NAME@_ROWS;
    memmove(state->highway[0], state->highway[1], (size_t)(rows - 1) * sizeof state->highway[0]);
    for (int t = 0; t < TARGETS; t++) {
        float latest = mean[t], past[@NAME@_ROWS];
        state->highway[rows - 1][t] = x[t];
        for (int p = 0; p < rows; p++)
            if (!isnan(state->highway[p][t]))
                latest = state->highway[p][t];
        for (int p = 0; p < rows; p++) { /* the latest row first */
            const float value = state->highway[rows - 1 - p][t];
            past[p] = isnan(value) ? 0 : value - latest;
        }
        for (int h = 0; h < HORIZON; h++) {
            float sum = 0;
            for (int p = 0; p < rows; p++)
                sum += highway_weight[h][p] * past[p];
            base[h][t] = latest + sum;
        }
    }
}
//.
//? quantiles

static void sort(double *x, int size)
{
    for (int i = 1; i < size; i++) {
        const double value = x[i];
        int k = i;
        for (; k > 0 && x[k - 1] > value; k--)
            x[k] = x[k - 1];
        x[k] = value;
    }
}
//.

/* One token; x in training deviations, NaN where missing. `forecast` is 0 where nobody will read it. */
static int advance(@name@_state *state, const float *x, const float *calendar, float elapsed,
                   @name@_forecast *forecast)
{
    float mean[INPUTS], deviation[INPUTS], features[FEATURES], token[PADDED(D)] ALIGNED;
    running_norm(state, x, mean, deviation);
    for (int i = 0; i < INPUTS; i++) {
        const int there = !isnan(x[i]);
        features[i] = there ? (x[i] - mean[i]) / deviation[i] : 0;
        features[INPUTS + i] = there ? 1.0f : 0.0f;
    }
//? calendar
    memcpy(features + 2 * INPUTS, calendar, @NAME@_CALENDAR * sizeof *calendar);
//:
    (void)calendar;
//.
//? decay_time
    features[FEATURES - 1] = log1pf(elapsed);
//.
    product(embed_weight, embed_bias, features, FEATURES, PADDED(D), token);
//? positions
    add_positions((double)state->position, token);
//.
    state->position++;
//? decay_time
    encode(state->encoder, token, elapsed, 0);
//:
    (void)elapsed;
    encode(state->encoder, token, 1, 0);
//.
//? highway
    float base[HORIZON][TARGETS];
    through_highway(state, x, mean, base);
//.
    if (!forecast)
        return @NAME@_OK;
    float raw[PADDED(HORIZON * TARGETS * OUTPUTS)] ALIGNED;
    product(head_weight, head_bias, token, D, PADDED(HORIZON * TARGETS * OUTPUTS), raw);
    @name@_forecast said;
    for (int h = 0; h < HORIZON; h++)
        for (int t = 0; t < TARGETS; t++) {
            const float *from = raw + (h * TARGETS + t) * OUTPUTS;
//? highway
            const float under = base[h][t];
//:
            const float under = mean[t];
//.
            said.mean[h][t] = (double)(from[0] * deviation[t] + under) * input_deviation[t] + input_mean[t];
            if (!isfinite(said.mean[h][t]))
                return @NAME@_ERROR_NOT_FINITE;
//? quantiles
            for (int q = 0; q < @NAME@_LEVELS; q++)
                said.quantiles[h][t][q] =
                    (double)(from[1 + q] * deviation[t] + under) * input_deviation[t] + input_mean[t];
            sort(said.quantiles[h][t], @NAME@_LEVELS);
//.
        }
    *forecast = said;
    return @NAME@_OK;
}

int @name@_init(@name@_state *state)
{
    if (!state)
        return @NAME@_ERROR_POINTER;
    memset(state, 0, sizeof *state);
    for (int i = 0; i < INPUTS; i++) { /* mean 0 and deviation 1, as in training, with the weight of 8 tokens */
        state->norm_normalizer[i] = 8;
        state->norm_weighted_sum[i][1] = 8;
    }
//? highway
    for (int p = 0; p < @NAME@_ROWS; p++)
        for (int t = 0; t < TARGETS; t++)
            state->highway[p][t] = NAN;
//.
    for (int l = 0; l < LAYERS; l++)
        begin_layer(state->encoder + l);
    return @NAME@_OK;
}

int @name@_step(@name@_state *state, const double values[@NAME@_INPUTS],
//? calendar
                const float calendar[@NAME@_CALENDAR],
//.
//? decay_time
                float elapsed,
//.
                @name@_forecast *forecast)
{
    float x[INPUTS];
//? !calendar
    const float *calendar = 0;
//.
//? !decay_time
    const float elapsed = 1;
//.
    if (!state || !values || !forecast)
        return @NAME@_ERROR_POINTER;
//? calendar
    if (!calendar)
        return @NAME@_ERROR_POINTER;
    for (int i = 0; i < @NAME@_CALENDAR; i++)
        if (!isfinite(calendar[i]))
            return @NAME@_ERROR_VALUE;
//.
    if (!scaled(values, INPUTS, 1, x) || !(elapsed >= 0 && elapsed <= FLT_MAX))
        return @NAME@_ERROR_VALUE;
    @name@_state next = *state;
    const int error = advance(&next, x, calendar, elapsed, forecast);
    if (!error)
        *state = next;
    return error;
}

int @name@_update(@name@_state *state,
//? time
                  int64_t time,
//.
                  const double values[@NAME@_INPUTS], @name@_forecast *forecast)
{
    float x[INPUTS];
//? calendar
    float calendar[@NAME@_CALENDAR];
//:
    const float *calendar = 0;
//.
    if (!state || !values || !forecast)
        return @NAME@_ERROR_POINTER;
    if (!scaled(values, INPUTS, 1, x))
        return @NAME@_ERROR_VALUE;
    @name@_state next = *state;
    float elapsed = state->position ? 1 : 0;
//? time
    if (time < FIRST_TIME || time > LAST_TIME)
        return @NAME@_ERROR_TIME;
    elapsed = 0;
    if (state->has_time) {
        if (state->time < FIRST_TIME || state->time > LAST_TIME)
            return @NAME@_ERROR_STATE;
        elapsed = 1;
//? interval
        if (time <= state->time)
            return @NAME@_ERROR_ORDER;
//? gaps
        if ((time - state->time) % @NAME@_INTERVAL)
            return @NAME@_ERROR_INTERVAL;
        const int64_t missing = (time - state->time) / @NAME@_INTERVAL - 1;
        if (missing > @NAME@_MAX_GAP)
            return @NAME@_ERROR_GAP;
        float nothing[INPUTS];
        for (int i = 0; i < INPUTS; i++)
            nothing[i] = NAN;
        for (int64_t k = missing; k > 0; k--) {
//? calendar
            calendar_of(time - k * @NAME@_INTERVAL, calendar);
//.
            advance(&next, nothing, calendar, elapsed, 0);
        }
//:
        elapsed = (float)((double)(time - state->time) / (double)@NAME@_INTERVAL);
//.
//.
    }
    next.time = time;
    next.has_time = 1;
//? calendar
    calendar_of(time, calendar);
//.
//.
    const int error = advance(&next, x, calendar, elapsed, forecast);
    if (!error)
        *state = next;
    return error;
}

int @name@_check(const @name@_state *state)
{
    if (!state)
        return @NAME@_ERROR_POINTER;
    int sound = 1;
    for (int i = 0; i < INPUTS; i++) {
        sound &= isfinite(state->norm_normalizer[i]) && state->norm_normalizer[i] > 0;
        sound &= isfinite(state->norm_weighted_sum[i][0]);
        sound &= isfinite(state->norm_weighted_sum[i][1]) && state->norm_weighted_sum[i][1] >= 0;
    }
//? time
    sound &= state->has_time == 0 || state->has_time == 1;
    sound &= !state->has_time || (state->time >= FIRST_TIME && state->time <= LAST_TIME);
//.
//? highway
    for (int p = 0; p < @NAME@_ROWS; p++)
        for (int t = 0; t < TARGETS; t++)
            sound &= !isinf(state->highway[p][t]);
//.
    for (int l = 0; l < LAYERS; l++)
        sound &= attention_is_sound(state->encoder + l);
    return sound ? @NAME@_OK : @NAME@_ERROR_STATE;
}

static void exchange(@name@_state *state, record *with)
{
    exchange_u64(&state->position, with);
    exchange_doubles(state->norm_normalizer, INPUTS, with);
    exchange_doubles(state->norm_weighted_sum[0], 2 * INPUTS, with);
//? time
    exchange_i64(&state->time, with);
    exchange_i64(&state->has_time, with);
//.
//? highway
    exchange_floats(state->highway[0], @NAME@_ROWS * TARGETS, with);
//.
    exchange_encoder(state->encoder, with);
}
