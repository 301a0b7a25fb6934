static const char *take_row(@name@_state *state)
{
    double numbers[@NAME@_OBSERVATIONS + 1];
    @name@_action action;
    const char *wrong = values_of(0, @NAME@_OBSERVATIONS + 1, numbers);
    if (wrong)
        return wrong;
    const int error = @name@_update(state, numbers, numbers[@NAME@_OBSERVATIONS], &action);
    if (error)
        return @name@_error_text(error);
    printf("{\"row\": %ld, \"action\": [", number - 1);
    for (int k = 0; k < @NAME@_ACTIONS; k++) {
        printf(k ? ", " : "");
        print_number(action.action[k]);
    }
    printf("], \"return_to_go\": %.9g}\n", action.return_to_go);
    return 0;
}

/* A line that was refused: its reward counts, if it can be read. */
static void leave_out(@name@_state *state, int whole)
{
    double reward = (double)NAN;
    const int due = state->awaits_reward == 1;
    const int known = whole && number_of(cells[places[@NAME@_OBSERVATIONS]], &reward) && isfinite(reward);
    if (!known)
        reward = (double)NAN;
    if ((@name@_skip(state, reward) || !known) && due)
        fprintf(stderr, "line %ld: its reward is not known and counts as 0: the return-to-go stays %.7g\n", number,
                state->return_to_go);
}
