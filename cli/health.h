/* cli/health.h - `openautoglm health`: asks the server on this machine whether it serves, for containers and scripts
 * that have no other program to ask with. It takes --host, --port and --uds as `serve` does, from the environment and
 * the file of --config, too. */
#ifndef CLI_HEALTH_H
#define CLI_HEALTH_H

/* Exit status 0: /health answers 200; 1: it does not; 2: wrong options. */
int command_health(int argc, char **argv);

#endif
