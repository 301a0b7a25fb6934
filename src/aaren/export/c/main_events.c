//? marks
static const char *const names[@NAME@_MARKS] = {@mark_json@};

//.
static const char *take_row(@name@_state *state)
{
    @name@_expected expected;
    double time, low, high;
//? dated
    int64_t microseconds;
    int error = @name@_parse_time(cells[places[0]], &microseconds);
    if (error)
        return @name@_error_text(error);
    time = (double)microseconds / 1e6;
//:
    int error;
    if (!number_of(cells[places[0]], &time))
        return "expected a number as a time";
//.
//? marks
    int mark;
    if ((error = @name@_find_mark(stripped(cells[places[1]]), &mark)))
        return @name@_error_text(error);
    error = @name@_update(state, time, mark, &expected);
//:
    error = @name@_update(state, time, &expected);
//.
    if (!error)
        error = @name@_quantile(&expected, 0.1, &low);
    if (!error)
        error = @name@_quantile(&expected, 0.9, &high);
    if (error)
        return @name@_error_text(error);
    printf("{\"row\": %ld, \"time\": %.17g, \"next\": {\"mean\": %.17g, \"median\": %.17g, \"q0.1\": %.17g, \"q0.9\": %.17g",
           number - 1, time, time + expected.mean, time + expected.median, time + low, time + high);
//? marks
    printf(", \"marks\": {");
    for (int k = 0; k < @NAME@_MARKS; k++) {
        printf("%s%s: ", k ? ", " : "", names[k]);
        print_number(expected.mark_probabilities[k]);
    }
    printf("}");
//.
    printf("}}\n");
    return 0;
}
