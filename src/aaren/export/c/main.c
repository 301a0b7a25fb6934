/* Rows of comma-separated text with a header on standard input, one line of JSON for each on standard output.
 *
 *     cc -std=c99 -O3 -march=native -o @name@ main.c @name@.c -lm
 *     ./@name@ [--state FILE] [--skip] < rows.csv
 *
 * --state FILE  go on from the state in the file if it is there, and leave the new one in it
 * --skip        leave out rows that are refused; without it the first one ends the program with exit code 1
 *
 * Columns: @column_words@; others are passed over.
 * A cell that is empty, NA, N/A, NaN, null, none or ? is missing.
 */
#include "@name@.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 1 << 16, CELLS = 4096, COLUMNS = @column_count@ };

static const char *const columns[COLUMNS] = {@column_names@};
static char line[LINE + 1];
static char *cells[CELLS];
static int places[COLUMNS];
static long number; /* of the line */

/* The next line that is not empty, without its end; 0 at the end, -1 if it is too long or has a NUL in it. */
static int next_line(void)
{
    int c;
    do {
        size_t length = 0;
        int sound = 1;
        number++;
        while ((c = getchar()) != '\n' && c != EOF) {
            sound &= c && length < LINE;
            if (sound)
                line[length++] = (char)c;
        }
        if (!sound)
            return -1;
        while (length && line[length - 1] == '\r')
            length--;
        line[length] = 0;
        if (length)
            return 1;
    } while (c != EOF);
    return 0;
}

/* Cut the line into cells, quotes undone; how many, or -1. */
static int split(void)
{
    int count = 0;
    char *from = line, *to = line;
    for (;;) {
        char end = ',';
        if (count == CELLS)
            return -1;
        cells[count++] = to;
        if (*from == '"') {
            for (from++; *from && (*from != '"' || from[1] == '"'); from++) {
                from += *from == '"';
                *to++ = *from;
            }
            if (*from++ != '"')
                return -1;
        }
        while (*from && *from != ',')
            *to++ = *from++;
        end = *from++;
        *to++ = 0;
        if (!end)
            return count;
    }
}

static int blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static char *stripped(char *text)
{
    size_t length = strlen(text);
    while (length && blank(text[length - 1]))
        text[--length] = 0;
    while (blank(*text))
        text++;
    return text;
}

//? numbers
static int same(const char *text, const char *word)
{
    for (; *text && *word; text++, word++)
        if ((*text >= 'A' && *text <= 'Z' ? *text + 32 : *text) != *word)
            return 0;
    return *text == *word;
}

static int missing(const char *text)
{
    static const char *const marks[] = {"", "na", "n/a", "nan", "null", "none", "?"};
    for (size_t k = 0; k < sizeof marks / sizeof *marks; k++)
        if (same(text, marks[k]))
            return 1;
    return 0;
}

/* A plain decimal number, or NaN for a mark of absence; 0 if the cell is something else. */
static int number_of(char *cell, double *value)
{
    const char *text = stripped(cell), *c = text;
    int digits = 0;
    *value = (double)NAN;
    if (missing(text))
        return 1;
    c += *c == '+' || *c == '-';
    for (; *c >= '0' && *c <= '9'; c++)
        digits++;
    if (*c == '.')
        for (c++; *c >= '0' && *c <= '9'; c++)
            digits++;
    if (digits && (*c == 'e' || *c == 'E')) {
        c++;
        c += *c == '+' || *c == '-';
        digits = 0;
        for (; *c >= '0' && *c <= '9'; c++)
            digits++;
    }
    if (*c || !digits)
        return 0;
    *value = strtod(text, 0);
    return 1;
}

//.
static int find_columns(void)
{
    const int read = next_line();
    if (!memcmp(line, "\xef\xbb\xbf", 3))
        memmove(line, line + 3, strlen(line + 3) + 1);
    const int count = read > 0 ? split() : -1;
    if (count < 0) {
        fprintf(stderr, "expected a header and rows, received none, or a malformed one\n");
        return -1;
    }
    for (int k = 0; k < COLUMNS; k++) {
        int found = 0;
        for (int at = 0; at < count; at++)
            if (!strcmp(stripped(cells[at]), columns[k])) {
                places[k] = at;
                found++;
            }
        if (found != 1) {
            fprintf(stderr, "expected one column '%s' in the header, received %d\n", columns[k], found);
            return -1;
        }
    }
    return count;
}

//? printed
static void print_number(double value)
{
    if (isfinite(value))
        printf("%.9g", value);
    else
        printf("null");
}

//.
@main_body@

static int load(const char *path, @name@_state *state)
{
    unsigned char bytes[@NAME@_STATE_BYTES + 1];
    FILE *file = fopen(path, "rb");
    if (!file)
        return errno == ENOENT ? @NAME@_OK : @NAME@_ERROR_FORMAT;
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return @name@_load(state, bytes, size);
}

/* Written beside the file and then renamed, so that the old one survives a crash. */
static int save(const char *path, const @name@_state *state)
{
    unsigned char bytes[@NAME@_STATE_BYTES];
    char beside[4096];
    if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside)
        return 0;
    FILE *file = fopen(beside, "wb");
    if (!file || @name@_save(state, bytes, sizeof bytes))
        return 0;
    const int whole = fwrite(bytes, 1, sizeof bytes, file) == sizeof bytes;
    return !fclose(file) && whole && !rename(beside, path);
}

int main(int count, char **words)
{
    const char *path = 0;
    int skip = 0, result = 0, read;
    static @name@_state state;
    for (int k = 1; k < count; k++) {
        if (!strcmp(words[k], "--skip")) {
            skip = 1;
        } else if (!strcmp(words[k], "--state") && k + 1 < count) {
            path = words[++k];
        } else {
            fprintf(stderr, "usage: %s [--state FILE] [--skip] < rows.csv\n", words[0]);
            return 2;
        }
    }
    @name@_init(&state);
    const int loaded = path ? load(path, &state) : @NAME@_OK;
    if (loaded) {
        fprintf(stderr, "%s: %s\n", path, @name@_error_text(loaded));
        return 1;
    }
    const int width = find_columns();
    if (width < 0)
        return 1;
    while (!result && (read = next_line()) != 0) {
        const char *wrong = 0;
        const int whole = read > 0 && split() == width;
        if (read < 0)
            wrong = "expected a shorter line, of text";
        else if (!whole)
            wrong = "expected as many cells as in the header";
        else
            wrong = take_row(&state);
        if (wrong) {
            fprintf(stderr, "line %ld: %s\n", number, wrong);
            result = !skip;
//? policy
            if (skip)
                leave_out(&state, whole);
//.
        }
        if (fflush(stdout) || ferror(stdout)) {
            fprintf(stderr, "line %ld: what is said after it cannot be written\n", number);
            return 1;
        }
    }
    if (path && !save(path, &state)) {
        fprintf(stderr, "%s: the state cannot be written\n", path);
        return 1;
    }
    return result;
}
