/* cli/hub.h - `openautoglm pull`, `list` and `rm`: models of a hub, by name. */
#ifndef CLI_HUB_H
#define CLI_HUB_H

/* Each returns the exit status. argv[0] is the command's name. */
int command_pull(int argc, char **argv);
int command_list(int argc, char **argv);
int command_rm(int argc, char **argv);

#endif
