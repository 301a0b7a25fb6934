/* The numbers of a row; what is wrong with them, or 0. */
static const char *values_of(int first, int size, double *values)
{
    static char text[128];
    for (int i = 0; i < size; i++)
        if (!number_of(cells[places[first + i]], values + i)) {
            snprintf(text, sizeof text, "expected a number in column '%.60s', or nothing if it is missing",
                     columns[first + i]);
            return text;
        }
    return 0;
}
