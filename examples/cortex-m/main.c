/* A forecaster on a Cortex-M4: every row of rows.h through the model, what it says as bits of float, and what it costs.
 *
 * Time is that of SysTick. Under `qemu-system-arm -icount shift=0` an instruction takes one nanosecond, and a tick of
 * the board's 25 MHz forty of them: ticks times 40 are instructions, to within 40.
 */
#include "board.h"
#include "model.h"
#include "rows.h"

#define SYSTICK ((volatile uint32_t *)0xe000e010) /* control, reload, current */

static model_state state;
static model_forecast forecast;
static char line[16 * MODEL_HORIZON * MODEL_TARGETS + 16];

static char *hexadecimal(char *to, uint32_t number)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        *to++ = "0123456789abcdef"[number >> shift & 15];
    *to++ = ' ';
    return to;
}

static void tell(const char *name, uint32_t number)
{
    char *to = hexadecimal(line, number);
    to[0] = '\n';
    to[1] = 0;
    say(name);
    say(line);
}

int main(void)
{
    uint32_t most = 0, least = UINT32_MAX, total = 0;
    SYSTICK[1] = 0xffffff;
    SYSTICK[0] = 5; /* on, by the processor's clock */
    model_init(&state);
    for (int row = 0; row < ROWS; row++) {
        SYSTICK[2] = 0;
#if defined(TIMED)
        const int error = model_update(&state, row_times[row], row_values[row], &forecast);
#else
        const int error = model_update(&state, row_values[row], &forecast);
#endif
        const uint32_t ticks = 0xffffff - SYSTICK[2];
        if (error) {
            say(model_error_text(error));
            say("\n");
            return 1;
        }
        total += ticks;
        most = ticks > most ? ticks : most;
        least = ticks < least ? ticks : least;
        char *to = line;
        for (int h = 0; h < MODEL_HORIZON; h++)
            for (int t = 0; t < MODEL_TARGETS; t++) {
                union {
                    float number;
                    uint32_t bits;
                } said = {(float)forecast.mean[h][t]};
                to = hexadecimal(to, said.bits);
            }
        *to++ = '\n';
        *to = 0;
        say(line);
    }
    tell("state bytes ", sizeof state);
    tell("static bytes ", static_ram());
    tell("stack bytes ", stack_used());
    tell("least instructions ", 40 * least);
    tell("mean instructions ", 40 * (total / ROWS));
    tell("most instructions ", 40 * most);
    return 0;
}
