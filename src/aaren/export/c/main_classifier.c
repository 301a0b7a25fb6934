static const char *const names[@NAME@_CLASSES] = {@class_json@};

static const char *take_row(@name@_state *state)
{
    double values[@NAME@_INPUTS];
    @name@_classes classes;
    const char *wrong = values_of(0, @NAME@_INPUTS, values);
    if (wrong)
        return wrong;
    const int error = @name@_update(state, values, &classes);
    if (error)
        return @name@_error_text(error);
    int best = 0;
    for (int k = 1; k < @NAME@_CLASSES; k++)
        best = classes.probabilities[k] > classes.probabilities[best] ? k : best;
    printf("{\"row\": %ld, \"class\": %s, \"probabilities\": {", number - 1, names[best]);
    for (int k = 0; k < @NAME@_CLASSES; k++) {
        printf("%s%s: ", k ? ", " : "", names[k]);
        print_number(classes.probabilities[k]);
    }
    printf("}}\n");
    return 0;
}
