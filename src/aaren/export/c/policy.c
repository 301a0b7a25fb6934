
enum { OBSERVATIONS = @NAME@_OBSERVATIONS, ACTIONS = @NAME@_ACTIONS };

@return_table@
@observation_table@
@action_table@
@timestep_table@
@head_table@
static const float norm_weight[D] = {@norm_weight@};
static const float norm_bias[D] = {@norm_bias@};
static const double lowest[ACTIONS] = {@lowest@};
static const double highest[ACTIONS] = {@highest@};
static const double return_scale = @return_scale@;

/* One token: an embedding, the vector of the time step, layer norm, encoder. */
static void read_token(@name@_state *state, const float *weight, const float *bias, const float *x, int inputs,
                       float *token)
{
    const float *step = timestep_weight + (size_t)state->timestep * D;
    product(weight, bias, x, inputs, PADDED(D), token);
    for (int i = 0; i < D; i++)
        token[i] += step[i];
    normalise(token, norm_weight, norm_bias, token);
    encode(state->encoder, token, 1, 0);
}

static int act(@name@_state *state, const float *observation, @name@_action *action)
{
    float token[PADDED(D)] ALIGNED, raw[PADDED(ACTIONS)] ALIGNED;
    const float to_go = (float)(state->return_to_go / return_scale);
    read_token(state, return_weight, return_bias, &to_go, 1, token);
    read_token(state, observation_weight, observation_bias, observation, OBSERVATIONS, token);
    product(head_weight, head_bias, token, D, PADDED(ACTIONS), raw);
    for (int k = 0; k < ACTIONS; k++) {
        state->action[k] = tanhf(raw[k]);
        if (!isfinite(state->action[k]))
            return @NAME@_ERROR_NOT_FINITE;
        const double to = lowest[k] + ((double)state->action[k] + 1) / 2 * (highest[k] - lowest[k]);
        action->action[k] = to < lowest[k] ? lowest[k] : (to > highest[k] ? highest[k] : to);
    }
    state->awaits_reward = 1;
    action->return_to_go = state->return_to_go;
    return @NAME@_OK;
}

#define LARGEST_RETURN (LARGEST_SCALED * (return_scale < 1 ? return_scale : 1))

static int earn(@name@_state *state, double reward)
{
    const double left = state->return_to_go - reward;
    if (!(fabs(left) <= LARGEST_RETURN))
        return @NAME@_ERROR_REWARD;
    state->return_to_go = left;
    return @NAME@_OK;
}

static int observe(@name@_state *state, double reward)
{
    float token[PADDED(D)] ALIGNED;
    if (earn(state, reward))
        return @NAME@_ERROR_REWARD;
    read_token(state, action_weight, action_bias, state->action, ACTIONS, token);
    state->timestep++;
    state->awaits_reward = 0;
    return @NAME@_OK;
}

/* A step; the reward of the one before it is told where there was one. */
static int advance(@name@_state *state, const double *observation, const double *reward, @name@_action *action)
{
    float x[OBSERVATIONS];
    @name@_state next = *state;
    @name@_action said;
    int error = @NAME@_OK;
    const uint64_t waits = state->awaits_reward == 1;
    const int left_out = state->awaits_reward == 2 && reward && !isnan(*reward);
    if (state->timestep >= @NAME@_STEPS || state->timestep + waits >= @NAME@_STEPS)
        return @NAME@_ERROR_EPISODE;
    if (!left_out && (reward ? !waits != !!isnan(*reward) : (int)waits))
        return @NAME@_ERROR_REWARD;
    if (!scaled(observation, OBSERVATIONS, 0, x))
        return @NAME@_ERROR_VALUE;
    if (waits)
        error = observe(&next, *reward);
    else if (left_out)
        error = earn(&next, *reward);
    if (!error)
        error = act(&next, x, &said);
    if (error)
        return error;
    *state = next;
    *action = said;
    return @NAME@_OK;
}

int @name@_reset(@name@_state *state, double target_return)
{
    if (!state)
        return @NAME@_ERROR_POINTER;
    if (!(fabs(target_return) <= LARGEST_RETURN))
        return @NAME@_ERROR_VALUE;
    memset(state, 0, sizeof *state);
    state->return_to_go = target_return;
    for (int l = 0; l < LAYERS; l++)
        begin_layer(state->encoder + l);
    return @NAME@_OK;
}

int @name@_init(@name@_state *state)
{
    return @name@_reset(state, @target_return@);
}

int @name@_act(@name@_state *state, const double observation[@NAME@_OBSERVATIONS], @name@_action *action)
{
    if (!state || !observation || !action)
        return @NAME@_ERROR_POINTER;
    return advance(state, observation, 0, action);
}

int @name@_observe(@name@_state *state, double reward)
{
    if (!state)
        return @NAME@_ERROR_POINTER;
    if (state->timestep >= @NAME@_STEPS)
        return @NAME@_ERROR_EPISODE;
    if (state->awaits_reward != 1)
        return @NAME@_ERROR_REWARD;
    @name@_state next = *state;
    const int error = observe(&next, reward);
    if (!error)
        *state = next;
    return error;
}

int @name@_step(@name@_state *state, const double observation[@NAME@_OBSERVATIONS], double reward,
                @name@_action *action)
{
    if (!state || !observation || !action)
        return @NAME@_ERROR_POINTER;
    return advance(state, observation, &reward, action);
}

int @name@_update(@name@_state *state, const double observation[@NAME@_OBSERVATIONS], double reward,
                  @name@_action *action)
{
    return @name@_step(state, observation, reward, action);
}

int @name@_skip(@name@_state *state, double reward)
{
    if (!state)
        return @NAME@_ERROR_POINTER;
    if (state->awaits_reward)
        return isnan(reward) ? @NAME@_OK : earn(state, reward);
    state->awaits_reward = 2;
    return @NAME@_OK;
}

int @name@_check(const @name@_state *state)
{
    if (!state)
        return @NAME@_ERROR_POINTER;
    int sound = state->timestep <= @NAME@_STEPS && isfinite(state->return_to_go);
    sound &= state->awaits_reward == 0 || state->awaits_reward == 2 ||
             (state->awaits_reward == 1 && state->timestep < @NAME@_STEPS);
    for (int k = 0; k < ACTIONS; k++)
        sound &= fabsf(state->action[k]) <= 1;
    for (int l = 0; l < LAYERS; l++)
        sound &= attention_is_sound(state->encoder + l);
    return sound ? @NAME@_OK : @NAME@_ERROR_STATE;
}

static void exchange(@name@_state *state, record *with)
{
    exchange_u64(&state->timestep, with);
    exchange_doubles(&state->return_to_go, 1, with);
    exchange_i64(&state->awaits_reward, with);
    exchange_floats(state->action, ACTIONS, with);
    exchange_encoder(state->encoder, with);
}
