/* cli/examine.h - what `openautoglm doctor` looks at on the machine: each function adds its lines to the findings. */
#ifndef CLI_EXAMINE_H
#define CLI_EXAMINE_H
#include "cli/findings.h"

void examine_processor(struct findings *f);    /* cores, instruction sets, the kernels of products               */
void examine_memory(struct findings *f);       /* of the machine and the control group; huge pages               */
void examine_limits(struct findings *f);       /* files that may be open, locked memory, the folder for models   */
void examine_gpus(struct findings *f);         /* driver, GPUs, the library for them                             */

#endif
