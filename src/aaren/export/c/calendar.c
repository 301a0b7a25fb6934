
/* Sine and cosine of phase k of n. */
static void wave(int64_t k, int n, float *pair)
{
    const float angle = 6.2831853f * (float)(2 * k > n ? k - n : k) / (float)n;
    pair[0] = 2 * k == n ? 0 : sinf(angle);
    pair[1] = 4 * k == n || 4 * k == 3 * n ? 0 : cosf(angle);
}

/* Where a time stands in its minute, hour, day, week and year. */
static void calendar_of(int64_t time, float calendar[@NAME@_CALENDAR])
{
    const int64_t since = time - FIRST_TIME; /* of the year 1, a Monday */
    const int64_t seconds = since / MICROSECONDS, days = seconds / 86400;
@phases@
}

int @name@_calendar(int64_t time, float calendar[@NAME@_CALENDAR])
{
    if (!calendar)
        return @NAME@_ERROR_POINTER;
    if (time < FIRST_TIME || time > LAST_TIME)
        return @NAME@_ERROR_TIME;
    calendar_of(time, calendar);
    return @NAME@_OK;
}
