/* What the board gives to a program. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

void say(const char *text);     /* on the debugger's screen */
void halt(int code);            /* ends the program */
uint32_t stack_used(void);      /* bytes of the stack that were written so far */
uint32_t static_ram(void);      /* bytes of data and bss */

#endif
