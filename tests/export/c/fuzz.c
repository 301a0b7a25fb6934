/* Rows of all kinds of numbers, states with changed bytes, damaged records and text that is no time, for any model.
 * Nothing may be undefined (build with sanitizers), and whoever is refused leaves state and answer what they were. */
#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(MODEL_HORIZON)
typedef model_forecast answer;
#define SIZE MODEL_INPUTS
#elif defined(MODEL_CLASSES)
typedef model_classes answer;
#define SIZE MODEL_INPUTS
#elif defined(MODEL_COMPONENTS)
typedef model_expected answer;
#define SIZE 1
#else
typedef model_action answer;
#define SIZE MODEL_OBSERVATIONS
#endif

static uint64_t seed = 88172645463325252u;

static uint64_t draw(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

static double number(int wild)
{
    static const double odd[] = {0,     -0.0,   1e300, -1e300, 1.7e308, 3e38, -3.4e38, 1e-300, 5e-324,
                                 1e30, -1e30, 1e19,  9.3e18, -1e15,   1e7,  -1e7,    65504,  1e-9};
    if (wild && draw(8) == 0)
        return draw(4) ? odd[draw(sizeof odd / sizeof *odd)] : (draw(2) ? (double)NAN : (double)INFINITY);
    return (double)draw(2000001) / 1e5 - 10;
}

static int64_t now;

static int feed(model_state *state, answer *said, int wild)
{
    double values[SIZE + 1];
    for (int i = 0; i <= SIZE; i++)
        values[i] = number(wild);
#if defined(MODEL_HORIZON)
#if defined(TIMED)
    const int64_t step = wild && draw(20) == 0 ? (int64_t)seed : (int64_t)(1 + draw(3)) * INT64_C(3600000000);
    const int64_t time = (int64_t)((uint64_t)now + (uint64_t)step);
    const int error = model_update(state, time, values, said);
    now = error ? now : time;
    return error;
#else
    return model_update(state, values, said);
#endif
#elif defined(MODEL_CLASSES)
    return model_update(state, values, said);
#elif defined(MODEL_COMPONENTS)
    const double interval = draw(3) ? fabs(values[0]) : values[0];
    double at;
    model_quantile(said, values[1], &at);
#if MODEL_MARKS
    const int mark = wild && draw(20) == 0 ? (int)draw(1u << 31) - (1 << 30) : (int)draw(MODEL_MARKS);
    return draw(2) ? model_step(state, interval, mark, said) : model_update(state, values[0] * 1e5, mark, said);
#else
    return draw(2) ? model_step(state, interval, said) : model_update(state, values[0] * 1e5, said);
#endif
#else
    const double reward = state->awaits_reward || (wild && draw(20) == 0) ? values[SIZE] : (double)NAN;
    return draw(9) ? model_update(state, values, reward, said) : model_observe(state, values[SIZE]);
#endif
}

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

int main(void)
{
    static model_state state, before, other;
    static answer said, told;
    static unsigned char bytes[MODEL_STATE_BYTES], damaged[MODEL_STATE_BYTES];
    long taken = 0, refused = 0, unsound = 0;
    memset(&said, 0, sizeof said);
    require(!model_init(&state), "a new state");
    require(model_init(0) == MODEL_ERROR_POINTER, "null");
    for (int row = 0; row < 3000; row++) {
        memcpy(&before, &state, sizeof state);
        memcpy(&told, &said, sizeof said);
        const int error = feed(&state, &said, 1);
        require(!model_check(&state), "a state that the model made is sound");
        if (error) {
            refused++;
            require(!memcmp(&before, &state, sizeof state), "a refused row leaves the state what it was");
            require(!memcmp(&told, &said, sizeof said), "a refused row leaves the answer what it was");
            require(strcmp(model_error_text(error), "unknown error"), "every code has a text");
        } else {
            taken++;
        }
        if (row % 500 == 499) {
            now = 0;
            model_init(&state);
        }
    }
    model_init(&state);
    now = 0;
    for (int row = 0; row < 20; row++)
        feed(&state, &said, 0);
    require(!model_save(&state, bytes, sizeof bytes), "saved");
    require(model_save(&state, bytes, sizeof bytes - 1) == MODEL_ERROR_SIZE, "no room");
    for (int round = 0; round < 3000; round++) { /* bytes of the struct itself, with and without a check */
        memcpy(&other, &state, sizeof state);
        for (uint64_t k = draw(8) + 1; k; k--)
            ((unsigned char *)&other)[draw(sizeof other)] = (unsigned char)draw(256);
        unsound += model_check(&other) != MODEL_OK;
        memcpy(&before, &other, sizeof other);
        now = 0;
        if (feed(&other, &said, round % 2))
            require(!memcmp(&before, &other, sizeof other), "a refused row leaves even a damaged state what it was");
    }
    for (size_t at = 0; at < sizeof bytes; at++) { /* every byte of a record, one after another */
        memcpy(damaged, bytes, sizeof bytes);
        damaged[at] ^= (unsigned char)(1 << draw(8));
        memcpy(&other, &state, sizeof state);
        require(model_load(&other, damaged, sizeof damaged) >= MODEL_ERROR_SIZE, "a damaged record is refused");
        require(!memcmp(&other, &state, sizeof state), "and leaves the state what it was");
    }
    require(model_load(&other, bytes, sizeof bytes - 1) == MODEL_ERROR_SIZE, "a cut record");
    require(!model_load(&other, bytes, sizeof bytes) && !memcmp(&other, &state, sizeof state), "a whole record");
#if defined(TIMED)
    static const char some[] = "0123456789-/:T .,Z+  \t90";
    for (int round = 0; round < 100000; round++) {
        char text[40] = "2016-07-01 00:00:00.5Z";
        int64_t time;
        const uint64_t length = draw(30);
        for (uint64_t k = round % 2 ? length : draw(3) + 1; k; k--)
            text[draw(length + 1)] = some[draw(sizeof some - 1)];
        text[round % 2 ? length : 39] = 0;
        model_parse_time(text, &time);
    }
#endif
    printf("%ld taken, %ld refused, %ld of 3000 damaged states found\n", taken, refused, unsound);
    return 0;
}
