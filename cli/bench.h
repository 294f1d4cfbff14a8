/* cli/bench.h - `openautoglm bench`: load for any server that speaks OpenAI's API, and how fast it answers. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

/* Exit status 0: every request was answered; 1: one was not, or there is no server; 2: wrong options. */
int command_bench(int argc, char **argv);

#endif
