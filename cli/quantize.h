/* cli/quantize.h - `openautoglm quantize`, see quantize.c. */
#ifndef CLI_QUANTIZE_H
#define CLI_QUANTIZE_H

int command_quantize(int argc, char **argv);   /* the exit status */

#endif
