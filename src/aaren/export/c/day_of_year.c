    int64_t year = days / 366 + 1; /* at most the year of that day */
    while (days_before_year(year + 1) - days_before_year(1) <= days)
        year++;
    const int64_t day = days - (days_before_year(year) - days_before_year(1));
    wave(day, is_leap(year) ? 366 : 365, calendar + @at@);
