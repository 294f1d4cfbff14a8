/* cli/talk_commands.h - the commands of a conversation: /image, /set and the others. */
#ifndef CLI_TALK_COMMANDS_H
#define CLI_TALK_COMMANDS_H
#include "cli/talk.h"

/* A line that begins with a slash. -1: it is no command, or cannot be done, and e says why. */
int   talk_command(struct talk *t, const char *line, struct err *e);

/* For editor_set_complete(): commands, and paths behind @ and /image. */
char *talk_complete(void *arg, const char *line, size_t at, size_t *from);

#endif
