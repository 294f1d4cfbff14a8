/* kernels/machine.h - what the machine lets this process use. */
#ifndef KERNELS_MACHINE_H
#define KERNELS_MACHINE_H
#include <stddef.h>

int    machine_threads(void);  /* cores: affinity, hyperthreads once, quota of the control group; at least 1 */
double machine_quota(void);    /* cores' worth of time that control groups give, such as 1.5; 0: no limit        */
size_t machine_memory(void);   /* bytes: physical memory, or less where a control group says so              */
size_t machine_free(void);     /* bytes that could be taken now: free, or pages of files; some 100 us        */
size_t machine_own(void);      /* bytes that this process has taken, without the pages of files              */

#endif
