/* cli/commands.h - the table of the program's commands, for whoever lists them: help, the manual, completion. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

struct command {
    const char *section;       /* title of the group that begins with this one; NULL: the group goes on  */
    const char *name;
    int       (*run)(int argc, char **argv);
    unsigned    groups;        /* of the options of config/options.inc that it takes; 0: none of them     */
    const char *usage;         /* of a command that does not read --help itself: what follows its name; NULL: it does */
    const char *help;          /* one line                                                                */
};

extern const struct command commands[];
extern const int n_commands;

#endif
