/* cli/manual.h - `openautoglm manual` and `completion`: what packages install beside the program, made from the tables
 * of commands and options, so that it is never another program's. */
#ifndef CLI_MANUAL_H
#define CLI_MANUAL_H

/* Each returns the exit status. argv[0] is the command's name. */
int command_manual(int argc, char **argv);
int command_completion(int argc, char **argv);

#endif
