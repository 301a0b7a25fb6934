static const char *const names[@NAME@_TARGETS] = {@target_json@};

static const char *take_row(@name@_state *state)
{
    double values[@NAME@_INPUTS];
    @name@_forecast forecast;
    const char *wrong = values_of(@time_columns@, @NAME@_INPUTS, values);
    if (wrong)
        return wrong;
//? time
    int64_t time;
//? parts
    double parts[6] = {0, 1, 1, 0, 0, 0};
    char text[64];
    if ((wrong = values_of(0, @time_columns@, parts)))
        return wrong;
    for (int k = 0; k < @time_columns@; k++)
        if (!(parts[k] >= 0 && parts[k] < 1e4 && floor(parts[k]) <= parts[k] && floor(parts[k]) >= parts[k]))
            return "expected whole numbers that make a date";
    snprintf(text, sizeof text, "%04d-%02d-%02d %02d:%02d:%02d", (int)parts[0], (int)parts[1], (int)parts[2],
             (int)parts[3], (int)parts[4], (int)parts[5]);
    int error = @name@_parse_time(text, &time);
//:
    int error = @name@_parse_time(cells[places[0]], &time);
//.
    if (!error)
        error = @name@_update(state, time, values, &forecast);
//:
    const int error = @name@_update(state, values, &forecast);
//.
    if (error)
        return @name@_error_text(error);
    printf("{\"row\": %ld, \"forecast\": {", number - 1);
    for (int t = 0; t < @NAME@_TARGETS; t++) {
        printf("%s%s: {\"mean\": [", t ? ", " : "", names[t]);
        for (int h = 0; h < @NAME@_HORIZON; h++) {
            printf(h ? ", " : "");
            print_number(forecast.mean[h][t]);
        }
//? quantiles
        static const char *const levels[@NAME@_LEVELS] = {@level_json@};
        for (int q = 0; q < @NAME@_LEVELS; q++) {
            printf("], %s: [", levels[q]);
            for (int h = 0; h < @NAME@_HORIZON; h++) {
                printf(h ? ", " : "");
                print_number(forecast.quantiles[h][t][q]);
            }
        }
//.
        printf("]}");
    }
    printf("}}\n");
    return 0;
}
