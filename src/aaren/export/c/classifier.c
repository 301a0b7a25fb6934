
enum { INPUTS = @NAME@_INPUTS, CLASSES = @NAME@_CLASSES };

@embed_table@
@head_table@

static int advance(@name@_state *state, const float *x, @name@_classes *classes)
{
    float features[2 * INPUTS], token[PADDED(D)] ALIGNED, both[2 * D], logits[PADDED(CLASSES)] ALIGNED;
    for (int i = 0; i < INPUTS; i++) {
        const int there = !isnan(x[i]);
        features[i] = there ? x[i] : 0;
        features[INPUTS + i] = there ? 1.0f : 0.0f;
    }
    product(embed_weight, embed_bias, features, 2 * INPUTS, PADDED(D), token);
//? positions
    add_positions((double)state->position, token);
//.
    state->position++;
    encode(state->encoder, token, 1, 0);
    for (int i = 0; i < D; i++) {
#if @NAME@_DOUBLE
        state->total[i] += (double)token[i];
        both[D + i] = (float)(state->total[i] / (double)state->position);
#else
        add(state->total + i, state->total_low + i, token[i]);
        both[D + i] = state->total[i] / (float)state->position;
#endif
        both[i] = token[i];
    }
    product(head_weight, head_bias, both, 2 * D, PADDED(CLASSES), logits);
    return softmax(logits, CLASSES, @temperature@, classes->probabilities);
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

int @name@_step(@name@_state *state, const double values[@NAME@_INPUTS], @name@_classes *classes)
{
    float x[INPUTS];
    if (!state || !values || !classes)
        return @NAME@_ERROR_POINTER;
    if (!scaled(values, INPUTS, 1, x))
        return @NAME@_ERROR_VALUE;
    @name@_state next = *state;
    @name@_classes said;
    const int error = advance(&next, x, &said);
    if (error)
        return error;
    *state = next;
    *classes = said;
    return @NAME@_OK;
}

int @name@_update(@name@_state *state, const double values[@NAME@_INPUTS], @name@_classes *classes)
{
    return @name@_step(state, values, classes);
}

int @name@_check(const @name@_state *state)
{
    if (!state)
        return @NAME@_ERROR_POINTER;
    int sound = 1;
    for (int i = 0; i < D; i++)
        sound &= isfinite(state->total[i]);
#if !@NAME@_DOUBLE
    for (int i = 0; i < D; i++)
        sound &= isfinite(state->total_low[i]);
#endif
    for (int l = 0; l < LAYERS; l++)
        sound &= attention_is_sound(state->encoder + l);
    return sound ? @NAME@_OK : @NAME@_ERROR_STATE;
}

static void exchange(@name@_state *state, record *with)
{
    exchange_u64(&state->position, with);
#if @NAME@_DOUBLE
    exchange_sums(state->total, D, with);
#else
    exchange_sums(state->total, state->total_low, D, with);
#endif
    exchange_encoder(state->encoder, with);
}
