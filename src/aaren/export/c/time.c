
#define FIRST_TIME (-INT64_C(62135596800000000)) /* years 1 to 9999, microseconds since 1970 */
#define LAST_TIME INT64_C(253402300799999999)
#define MICROSECONDS INT64_C(1000000)

static int is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days from 1970-01-01 to the first of January of a year from 1 on. */
static int64_t days_before_year(int64_t year)
{
    const int64_t past = year - 1;
    return past * 365 + past / 4 - past / 100 + past / 400 - 719162;
}
