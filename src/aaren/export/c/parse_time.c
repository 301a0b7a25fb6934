
static int64_t days_before_month(int64_t year, int64_t month)
{
    static const int16_t days[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    return days[month - 1] + (month > 2 && is_leap(year));
}

/* Reads `least` to `most` digits; -1 if there are fewer. */
static int64_t digits(const char **text, int least, int most)
{
    int64_t number = 0;
    int count = 0;
    for (; count < most && **text >= '0' && **text <= '9'; count++)
        number = 10 * number + (*(*text)++ - '0');
    return count < least ? -1 : number;
}

static int blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Minutes that a zone is ahead of UTC. */
static int zone(const char **text, int64_t *minutes)
{
    const char sign = **text;
    *minutes = 0;
    if (sign == 'Z' || sign == 'z') {
        ++*text;
        return 1;
    }
    if (sign != '+' && sign != '-')
        return 1;
    ++*text;
    const int64_t hours = digits(text, 2, 2);
    int64_t rest = 0;
    if (**text == ':' || (**text >= '0' && **text <= '9')) {
        *text += **text == ':';
        rest = digits(text, 2, 2);
    }
    *minutes = (hours * 60 + rest) * (sign == '-' ? -1 : 1);
    return hours >= 0 && hours <= 23 && rest >= 0 && rest <= 59;
}

/* The time of day behind a date, as [T ]HH:MM[:SS[.fraction]][zone]; microseconds. */
static int time_of_day(const char **text, int64_t *microseconds)
{
    int64_t second = 0, fraction = 0, minutes;
    if (**text == 'T' || **text == 't')
        ++*text;
    else
        while (**text == ' ')
            ++*text;
    const int64_t hour = digits(text, 1, 2);
    if (hour < 0 || hour > 23 || *(*text)++ != ':')
        return 0;
    const int64_t minute = digits(text, 2, 2);
    if (minute < 0 || minute > 59)
        return 0;
    if (**text == ':') {
        ++*text;
        second = digits(text, 2, 2);
        if (second < 0 || second > 59)
            return 0;
        if (**text == '.' || **text == ',') {
            const char *from = ++*text;
            if ((fraction = digits(text, 1, 6)) < 0)
                return 0;
            for (ptrdiff_t count = *text - from; count < 6; count++)
                fraction *= 10;
            digits(text, 0, 3);
        }
    }
    if (**text == ' ')
        ++*text;
    if (!zone(text, &minutes))
        return 0;
    *microseconds = ((hour * 60 + minute - minutes) * 60 + second) * MICROSECONDS + fraction;
    return 1;
}

int @name@_parse_time(const char *text, int64_t *time)
{
    int64_t month, day = 1, microseconds = 0;
    if (!text || !time)
        return @NAME@_ERROR_POINTER;
    while (blank(*text))
        text++;
    const int64_t year = digits(&text, 4, 4);
    if (year < 1 || (*text != '-' && *text != '/'))
        return @NAME@_ERROR_TIME;
    text++;
    month = digits(&text, 1, 2);
    if (month < 1 || month > 12)
        return @NAME@_ERROR_TIME;
    if (*text == '-' || *text == '/') {
        text++;
        day = digits(&text, 1, 2);
        const int64_t length = month == 12 ? 31 : days_before_month(year, month + 1) - days_before_month(year, month);
        if (day < 1 || day > length)
            return @NAME@_ERROR_TIME;
        if ((*text == 'T' || *text == 't' || *text == ' ')) {
            const char *ahead = text;
            while (blank(*ahead))
                ahead++;
            if (*ahead && !time_of_day(&text, &microseconds))
                return @NAME@_ERROR_TIME;
        }
    }
    while (blank(*text))
        text++;
    const int64_t days = days_before_year(year) + days_before_month(year, month) + day - 1;
    const int64_t found = days * 86400 * MICROSECONDS + microseconds;
    if (*text || found < FIRST_TIME || found > LAST_TIME)
        return @NAME@_ERROR_TIME;
    *time = found;
    return @NAME@_OK;
}
