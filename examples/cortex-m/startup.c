/* From reset to main: the floating-point unit on, data copied, the stack painted. And what the C library asks for. */
#include "board.h"

extern uint32_t data_start[], data_end[], data_source[], bss_start[], bss_end[], stack_end[];

enum { PAINT = 0x5aa5c33c };

int main(void);

void reset(void)
{
    *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20; /* CPACR: coprocessors 10 and 11 */
    __asm volatile("dsb\n isb");
    for (uint32_t *to = data_start, *from = data_source; to < data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;)
        *to++ = 0;
    uint32_t *here;
    __asm volatile("mov %0, sp" : "=r"(here));
    for (uint32_t *to = bss_end; to < here - 16; to++)
        *to = PAINT;
    halt(main());
}

static void fault(void)
{
    say("fault\n");
    halt(1);
}

/* What the processor reads first: where the stack ends, and what to call for reset and for every fault. */
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*handlers[15])(void);
} vectors = {stack_end, {reset, fault, fault, fault, fault, fault}};

uint32_t stack_used(void)
{
    const uint32_t *at = bss_end;
    while (at < stack_end && *at == PAINT)
        at++;
    return (uint32_t)((const char *)stack_end - (const char *)at);
}

uint32_t static_ram(void)
{
    return (uint32_t)((const char *)bss_end - (const char *)data_start);
}

/* Semihosting: the debugger, here QEMU, does what a board without a screen cannot. */
static void ask(uint32_t what, const void *with)
{
    register uint32_t r0 __asm("r0") = what;
    register const void *r1 __asm("r1") = with;
    __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void say(const char *text)
{
    ask(0x04, text);
}

void halt(int code)
{
    const uint32_t reason[2] = {0x20026, (uint32_t)code};
    ask(0x20, reason);
    for (;;)
        ;
}
