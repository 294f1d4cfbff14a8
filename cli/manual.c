/* cli/manual.c - the manual page, as man(7) wants it. See manual.h; completion is in completion.c. */
#include "cli/manual.h"

#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/commands.h"

/* Text as troff takes it: a backslash begins an escape, '-' would become a hyphen that nobody can copy into a shell,
 * and a line that begins with '.' or '\'' would be a request. */
static void put(const char *s)
{
    if (*s == '.' || *s == '\'')
        fputs("\\&", stdout);
    for (; *s; s++) {
        if (*s == '\\')
            fputs("\\e", stdout);
        else if (*s == '-')
            fputs("\\-", stdout);
        else
            putchar(*s);
    }
}

/* "serve, chat": the commands that take the option; groups of commands are asked for one after the other. */
struct takers { const char *name; bool found; };

static void is_it(void *arg, const struct option_text *row)
{
    struct takers *t = arg;
    t->found = t->found || strcmp(t->name, row->name) == 0;
}

/* Which commands take this option, since one table has the options of all. */
static void put_takers(const char *name)
{
    const char *between = " Taken by ";
    for (int i = 0; i < n_commands; i++) {
        struct takers t = { .name = name };
        options_each(commands[i].groups, is_it, &t);
        if (!t.found)
            continue;
        printf("%s\\fB%s\\fR", between, commands[i].name);
        between = ", ";
    }
    puts(".");
}

/* One row of the option table as an entry of the manual: name, argument, help, default unless it is empty or 0, and
 * which commands take it. */
static void put_option(void *arg, const struct option_text *row)
{
    (void)arg;
    fputs(".TP\n\\fB\\-\\-", stdout);
    put(row->name);
    fputs("\\fR", stdout);
    if (*row->arg) {
        fputs(" \\fI", stdout);
        put(row->arg);
        fputs("\\fR", stdout);
    }
    putchar('\n');
    put(row->help);
    if (*row->def && strcmp(row->def, "0") != 0) {
        fputs(" (default: ", stdout);
        put(row->def);
        putchar(')');
    }
    putchar('.');
    put_takers(row->name);
}

static const char head[] =
    ".TH OPENAUTOGLM 1 \"\" \"openautoglm " VERSION "\" \"User Commands\"\n"
    ".SH NAME\nopenautoglm \\- HTTP server for models that look at images and answer with text\n"
    ".SH SYNOPSIS\n"
    ".B openautoglm\n.I COMMAND\n[\\fIOPTION\\fR...]\n.br\n"
    ".B openautoglm serve\n[\\fIMODEL\\fR] [\\fIOPTION\\fR...]\n"
    ".SH DESCRIPTION\n"
    "Serves a vision-language model over the API of OpenAI: chat with screenshots, streamed or whole,\n"
    "many requests at the same time, on the CPU or on a GPU. Without a model the shipped one is served.\n";

static const char tail[] =
    ".SH ENVIRONMENT\n"
    ".TP\n.B OPENAUTOGLM_NAME\n"
    "Sets the option \\fB\\-\\-name\\fR, with '_' for '\\-'. The command line wins over the environment,\n"
    "that over the file of \\fB\\-\\-config\\fR.\n"
    ".TP\n.B HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE\n"
    "The hub that models are fetched from by name, the token for it, where models are kept, and whether\n"
    "the hub may be asked at all.\n"
    ".SH SIGNALS\n"
    "The first SIGTERM or SIGINT lets running requests finish (\\fB\\-\\-drain\\-seconds\\fR); the second\n"
    "ends the process.\n"
    ".SH EXIT STATUS\n"
    ".TP\n.B 0\nAll went well.\n"
    ".TP\n.B 1\nIt could not be done: the model does not fit, the server does not serve, the hub refused.\n"
    ".TP\n.B 2\nThe command line is wrong, or the model cannot be used.\n"
    ".SH SEE ALSO\nThe folder doc/openautoglm that was installed with the program.\n";

/* Prints the page for `man`: commands and options come from the tables that the program itself uses, the rest is text
 * of this file. */
int command_manual(int argc, char **argv)
{
    (void)argc, (void)argv;
    fputs(head, stdout);
    puts(".SH COMMANDS");
    for (int i = 0; i < n_commands; i++) {
        printf(".TP\n.B %s\n", commands[i].name);
        put(commands[i].help);
        putchar('\n');
    }
    puts(".SH OPTIONS");
    options_each(OPT_ALL, put_option, NULL);
    fputs(tail, stdout);
    return 0;
}
